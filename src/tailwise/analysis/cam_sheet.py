"""Images, their class activation maps, foregrounds and what the transforms make of them, as one contact sheet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from tailwise.analysis.figure import COLOURS, short, style

#: Inches of a tile, and of the words beside and above the tiles.
_TILE, _SIDE, _TOP = 1.08, 1.35, 0.6


@dataclass(frozen=True, eq=False)
class SheetRow:
    """One image of the sheet.

    Attributes:
        label: For people: the class.
        notes: For people: what else there is to know of the class, line by line.
        image: uint8 ``[3,S,S]``.
        level: The map in [0, 1], ``[S,S]``.
        mask: The foreground, bool ``[S,S]``.
        composed: By transform, uint8 ``[3,S,S]``.
    """

    label: str
    notes: tuple[str, ...]
    image: NDArray[np.uint8]
    level: NDArray[np.float32]
    mask: NDArray[np.bool_]
    composed: Mapping[str, NDArray[np.uint8]]


def cam_sheet(rows: Sequence[SheetRow], title: str) -> Figure:
    """One row for each image: image, map, foreground with its outline, and every transform.

    Args:
        rows: At least one; all with the same transforms.
        title: Above the sheet.
    """
    columns = ["image", "map", "foreground", *(name.replace("_", " and ") for name in rows[0].composed)]
    width, height = _SIDE + _TILE * len(columns), _TOP + _TILE * len(rows)
    with style():
        figure = Figure(figsize=(width, height))
        figure.suptitle(title, x=0.02, y=1 - 0.12 / height, ha="left", va="top", fontsize=10, fontweight="bold")
        grid = figure.add_gridspec(
            len(rows),
            len(columns),
            left=_SIDE / width,
            right=1 - 0.05 / width,
            bottom=0.05 / height,
            top=1 - _TOP / height,
            wspace=0.06,
            hspace=0.06,
        )
        for number, row in enumerate(rows):
            for column, name in enumerate(columns):
                axes = figure.add_subplot(grid[number, column])
                axes.set_axis_off()
                if number == 0:
                    axes.set_title(name, loc="center", fontsize=8.5, fontweight="normal", pad=3)
                _tile(axes, row, column)
                if column == 0:
                    axes.text(-0.08, 0.58, short(row.label, 16), transform=axes.transAxes, ha="right", va="bottom")
                    notes = "\n".join(row.notes)
                    axes.text(-0.08, 0.5, notes, transform=axes.transAxes, ha="right", va="top", fontsize=7.5)
        return figure


def _tile(axes: Any, row: SheetRow, column: int) -> None:
    image = row.image.transpose(1, 2, 0)
    if column == 1:
        axes.imshow(image.mean(axis=2), cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axes.imshow(row.level, cmap="viridis", vmin=0, vmax=1, alpha=0.7, interpolation="nearest")
    elif column == 2:
        dimmed = np.where(row.mask[..., None], image, 255 - (255 - image.astype(np.int64)) // 4)
        axes.imshow(dimmed.astype(np.uint8), interpolation="nearest")
        _outline(axes, row.mask)
    else:
        shown = image if column == 0 else list(row.composed.values())[column - 3].transpose(1, 2, 0)
        axes.imshow(shown, interpolation="nearest")


def _outline(axes: Any, mask: NDArray[np.bool_]) -> None:
    """The border of a mask, along the edges of its pixels."""
    from matplotlib.collections import LineCollection

    padded = np.pad(mask, 1)
    rows, columns = np.nonzero(padded[1:, 1:-1] != padded[:-1, 1:-1])
    across = [((c - 0.5, r - 0.5), (c + 0.5, r - 0.5)) for r, c in zip(rows, columns, strict=True)]
    rows, columns = np.nonzero(padded[1:-1, 1:] != padded[1:-1, :-1])
    down = [((c - 0.5, r - 0.5), (c - 0.5, r + 0.5)) for r, c in zip(rows, columns, strict=True)]
    axes.add_collection(LineCollection([*across, *down], colors=COLOURS[4], linewidths=0.9))
