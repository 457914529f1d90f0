"""What all figures share: colours that colour-blind readers can tell apart, sizes, class order, inline SVG."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from tailwise.core.stats import ClassStats
from tailwise.evaluation.shots import GROUPS, shot_groups

#: Okabe and Ito, Color Universal Design, 2008 (without black, which is the ink, and a grey for the yellow that white
#: paper swallows). More series than colours begin again with other markers and dashes: :func:`look`.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#808890")
MARKERS = ("o", "s", "^", "D")
DASHES: Any = ("-", (0, (4, 1.5)), (0, (1.5, 1)), (0, (5, 1, 1, 1)))
GAIN, LOSS = "#009E73", "#D55E00"
#: In inline SVG these become ``var(--ink)``, ``var(--rule)`` and ``var(--strong)`` (black on light pages, white on dark
#: ones), so that a page can be dark or light.
INK, RULE, STRONG = "#22262b", "#c9ced6", "#010101"
#: Up to this many classes a figure names each of them.
NAMED_CLASSES = 30

_STYLE: Any = (
    ("font.size", 9),
    ("font.family", ["DejaVu Sans"]),
    ("text.color", INK),
    ("text.parse_math", False),
    ("axes.labelcolor", INK),
    ("axes.edgecolor", RULE),
    ("axes.titlesize", 9.5),
    ("axes.titleweight", "bold"),
    ("axes.titlelocation", "left"),
    ("axes.spines.top", False),
    ("axes.spines.right", False),
    ("axes.grid", True),
    ("axes.grid.axis", "y"),
    ("axes.axisbelow", True),
    ("axes.unicode_minus", True),
    ("grid.color", RULE),
    ("grid.linewidth", 0.5),
    ("xtick.color", RULE),
    ("ytick.color", RULE),
    ("xtick.labelcolor", INK),
    ("ytick.labelcolor", INK),
    ("legend.frameon", False),
    ("lines.linewidth", 1.6),
    ("savefig.transparent", True),
    ("svg.fonttype", "none"),
    ("svg.hashsalt", "tailwise"),
)


def look(number: int) -> tuple[str, str, Any]:
    """Colour, marker and dashes of the series of this number: no two of the first 28 agree in all three."""
    turn = number // len(COLOURS) % len(MARKERS)
    return COLOURS[number % len(COLOURS)], MARKERS[turn], DASHES[turn]


@contextmanager
def style() -> Generator[None]:
    """The style of every figure; text is never read as mathematics, since class names may hold a dollar sign."""
    with matplotlib.rc_context(dict(_STYLE)):
        yield


def new_figure(height: float, rows: int = 1, columns: int = 1, **options: Any) -> tuple[Figure, list[Axes]]:
    """An empty figure, 9 inches wide.

    Args:
        height: In inches.
        rows: Rows of axes.
        columns: Columns of axes.
        options: Passed to ``Figure.subplots``.

    Returns:
        The figure and its axes, row by row.
    """
    figure = Figure(figsize=(9.0, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **options)
    return figure, list(np.ravel(axes))


def figure_to_svg(figure: Figure, name: str = "figure") -> str:
    """One ``<svg>`` element for inline use in HTML, the same text for the same figure.

    Args:
        figure: The figure.
        name: Prefix of every id in it; give each figure of a page its own.
    """
    buffer = io.StringIO()
    with style(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from font")  # the browser has more fonts
        # The resolution is that of rasterized parts.
        figure.savefig(buffer, format="svg", dpi=200, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    # Only inside tags (matplotlib escapes both brackets in texts): a class may be called "#22262b" or 'id="a'.
    return re.sub(r"<[^>]+>", lambda tag: _inline(tag[0], name), text).strip()


def _inline(tag: str, name: str) -> str:
    tag = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", tag).replace("xlink:href=", "href=")
    tag = re.sub(r'(\sid="|href="#|url\(#)', rf"\g<1>{name}-", tag)
    return tag.replace(INK, "var(--ink)").replace(RULE, "var(--rule)").replace(STRONG, "var(--strong)")


def frequency_order(counts: Any) -> NDArray[np.int64]:
    """Labels from the largest class to the smallest, ``[C]``: the one class order of all figures and tables."""
    return ClassStats(counts).by_frequency


def blocks(num_classes: int, limit: int = 100) -> list[NDArray[np.int64]]:
    """Ranks ``0 .. C-1`` cut into at most ``limit`` runs of nearly equal length, so that a figure stays readable."""
    return [run.astype(np.int64) for run in np.array_split(np.arange(num_classes), min(num_classes, limit))]


def block_means(values: NDArray[np.float64], runs: Sequence[NDArray[np.int64]]) -> NDArray[np.float64]:
    """Mean of each run without its NaNs; NaN where nothing is left. ``values`` are in frequency order."""
    kept = [values[run][np.isfinite(values[run])] for run in runs]
    return np.array([part.mean() if part.size else np.nan for part in kept])


def short(name: object, length: int = 22) -> str:
    """A label on one line, cut in the middle when it is longer than ``length`` characters."""
    text = " ".join(str(name).split())
    if len(text) <= length:
        return text
    head = (length - 1) * 2 // 3
    return f"{text[:head]}…{text[len(text) - (length - 1 - head) :]}"


def class_axis(axes: Axes, counts: Any, class_names: Sequence[str] | None, shots: str | None, *, label: bool) -> None:
    """Makes the horizontal axis the classes in frequency order and marks the shot groups.

    Args:
        axes: Where class of rank r (from 0) stands at x = r.
        counts: Training images per class, ``[C]``.
        class_names: Names in label order; drawn when there are few enough.
        shots: A shot protocol, or ``None`` for no marks.
        label: Whether tick labels and the axis label are drawn.
    """
    order = frequency_order(counts)
    axes.set_xlim(-0.6, order.size - 0.4)
    named = class_names is not None and order.size <= NAMED_CLASSES
    if not label:
        axes.tick_params(axis="x", labelbottom=False, length=0)
    elif named and class_names is not None:
        names = [short(class_names[c], 16) for c in order]
        slanted = max(len(name) for name in names) * order.size > 90
        axes.set_xticks(range(order.size), names, rotation=40 if slanted else 0, ha="right" if slanted else "center")
        axes.tick_params(axis="x", length=0)
    else:
        ticks = np.unique(np.linspace(0, order.size - 1, 6).round().astype(int))
        axes.set_xticks(ticks.tolist(), [str(tick + 1) for tick in ticks])
        axes.set_xlabel("class, ranked by training images (1 = largest)")
    if shots is not None:
        mark_groups(axes, counts, shots)


def mark_groups(axes: Axes, counts: Any, shots: str) -> None:
    """Dotted lines between the shot groups and their names above the axes."""
    order = frequency_order(counts)
    masks = shot_groups(shots, counts)
    for group in GROUPS:
        ranks = np.flatnonzero(masks[group][order])
        if not ranks.size:
            continue
        if ranks[0] > 0:
            axes.axvline(float(ranks[0]) - 0.5, color=INK, linewidth=0.7, linestyle=(0, (1, 2)))
        axes.text(
            float(ranks.mean()), 1.01, group, transform=axes.get_xaxis_transform(), ha="center", va="bottom", fontsize=8
        )
