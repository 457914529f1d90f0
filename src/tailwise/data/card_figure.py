"""The data card as one picture: sorted class sizes and sample images from head to tail."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from tailwise.core.errors import DataError
from tailwise.data.images import decode
from tailwise.data.index import Pool
from tailwise.data.open import Splits
from tailwise.data.rgb import UnreadableImage

#: Okabe-Ito colours, which stay apart under every common form of colour blindness; grey for a class in no group.
COLOURS: Mapping[str, str] = MappingProxyType(
    {"many": "#0072B2", "medium": "#E69F00", "few": "#CC79A7", "none": "#999999"}
)
_PER_GROUP, _TILE = 6, 64
_MOST_NAMES, _MOST_BARS = 40, 200


def draw_card(card: Mapping[str, Any], splits: Splits, path: Path, *, shots: str = "oltr") -> None:
    """Draws the class sizes of a data card, coloured by many / medium / few, over sample images of each group.

    Args:
        card: What :func:`tailwise.data.card.data_card` returned.
        splits: The same data set, for the sample images.
        path: The PNG file to write.
        shots: The shot protocol of the colours.

    Raises:
        DataError: The file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from tailwise.evaluation.shots import GROUPS, shot_groups

    entries: Sequence[Mapping[str, Any]] = card["counts"]
    counts = np.array([entry["train"] for entry in entries], dtype=np.int64)
    masks = shot_groups(shots, counts)
    group_of = [next((group for group in GROUPS if masks[group][rank]), "none") for rank in range(len(entries))]
    figure = Figure(figsize=(9, 6.4), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(2, 3, height_ratios=(3.0, 1.9))
    bars = figure.add_subplot(grid[0, :])
    ranks = np.arange(len(entries))
    for group in (*GROUPS, "none"):
        of_group = np.array([name == group for name in group_of])
        if of_group.any():
            words = "in no group" if group == "none" else f"{group}-shot"
            size = int(of_group.sum())
            label = f"{words}: {size} {'class' if size == 1 else 'classes'}, {counts[of_group].sum():,} images"
            if len(entries) <= _MOST_BARS:
                bars.bar(ranks[of_group], counts[of_group], width=0.9, color=COLOURS[group], label=label)
            else:  # one outline instead of thousands of rectangles
                heights, edges = np.where(of_group, counts, np.nan), np.arange(len(entries) + 1) - 0.5
                bars.stairs(heights, edges, baseline=0.1, fill=True, color=COLOURS[group], label=label)
    bars.set_yscale("log")
    bars.set_ylim(bottom=0.7)
    bars.yaxis.set_major_formatter("{x:,.0f}")
    bars.set_xlim(-0.7, len(entries) - 0.3)
    bars.set_ylabel("training images (log scale)")
    if len(entries) <= _MOST_NAMES:
        names = [_short(str(entry["class"]), 18) for entry in entries]
        bars.set_xticks(ranks, names, rotation=45 if max(map(len, names)) > 3 else 0, ha="right", parse_math=False)
        for text in bars.get_xticklabels():
            text.set_horizontalalignment("right" if max(map(len, names)) > 3 else "center")
    else:
        bars.set_xlabel("classes, largest first")
    bars.legend(
        title=f"groups of the protocol {shots!r}",
        loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
        ncols=4,
        frameon=False,
        fontsize=9,
        title_fontsize=9,
    )
    bars.spines[["top", "right"]].set_visible(False)
    figure.suptitle(
        f"{card['source']}: {card['num_images']:,} training images, {card['num_classes']} classes, "
        f"imbalance factor {card['imbalance_factor']:.4g}",
        fontsize=11,
        parse_math=False,
    )
    for column, group in enumerate(GROUPS):
        _strip(figure.add_subplot(grid[1, column]), splits.train, entries, group_of, group)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing")  # class names in scripts without a font
            figure.savefig(path, format="png", metadata={"Software": None})
    except OSError as error:
        raise DataError(f"cannot write the figure {path}: {error.strerror or error}") from error


def _strip(axes: Any, pool: Pool, entries: Sequence[Mapping[str, Any]], group_of: Sequence[str], group: str) -> None:
    inside = [entry for entry, name in zip(entries, group_of, strict=True) if name == group]
    axes.set_axis_off()
    axes.set_title(f"{group}-shot" if inside else f"{group}-shot: no classes", fontsize=10)
    if not inside:
        return
    spread = np.linspace(0, len(inside) - 1, _PER_GROUP).astype(int)
    canvas = np.full((2 * _TILE + 4, 3 * _TILE + 8, 3), 255, dtype=np.uint8)
    seen: dict[int, int] = {}
    for tile, place in enumerate(spread):
        label = int(inside[place]["label"])
        skip = seen.get(label, 0)
        image, seen[label] = _readable(pool, label, skip)
        top, left = (tile // 3) * (_TILE + 4), (tile % 3) * (_TILE + 4)
        if image is not None:
            canvas[top : top + _TILE, left : left + _TILE] = image
    axes.imshow(canvas, interpolation="nearest")


def _readable(pool: Pool, label: int, skip: int) -> tuple[Any, int]:
    """The next readable image of a class as ``[tile, tile, 3]``, and how many of its images are used up by then."""
    for at, position in enumerate(np.flatnonzero(pool.labels == label)[skip : skip + 20]):
        try:
            return decode(pool, int(position), _TILE).transpose(1, 2, 0), skip + at + 1
        except UnreadableImage:
            continue
    return None, skip


def _short(name: str, most: int) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"
