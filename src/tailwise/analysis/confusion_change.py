"""The confusion matrix before a stage, and what the stage changed (chu2020feature, Fig. 7)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from tailwise.analysis.confusion_plot import BLUES, shares
from tailwise.analysis.figure import GAIN, INK, LOSS, NAMED_CLASSES, blocks, frequency_order, short, style

#: From less through nothing, which has the colour of the page, to more.
_CHANGE = LinearSegmentedColormap.from_list("change", [(0.0, LOSS), (0.5, "#ffffff00"), (1.0, GAIN)])


def confusion_change(before: Any, after: Any, counts: Any, *, class_names: Sequence[str] | None = None) -> Figure:
    """Left the shares before, right how many points of each row moved, classes in frequency order.

    Args:
        before: Images per (true, predicted) in label order, ``[C, C]``.
        after: The same later, of the same images.
        counts: Training images per class, ``[C]``.
        class_names: Names in label order; drawn up to 30 classes.

    Returns:
        Beyond 100 classes a cell stands for a run of neighbouring classes, as in
        :func:`~tailwise.analysis.confusion_plot.confusion_plot`.
    """
    order = frequency_order(counts)
    runs = blocks(order.size)
    first, second = (
        shares(np.asarray(matrix, dtype=np.float64)[np.ix_(order, order)], runs) for matrix in (before, after)
    )
    change = second - first
    limit = max(float(np.nanmax(np.abs(change))), 0.01) if np.isfinite(change).any() else 0.01
    with style():
        figure = Figure(figsize=(9.0, 4.4), layout="constrained")
        left, right = figure.subplots(1, 2)
        extent = (-0.5, order.size - 0.5, order.size - 0.5, -0.5)
        image = left.imshow(first, cmap=BLUES, norm=PowerNorm(0.5, 0, 1), extent=extent, interpolation="none")
        moved = right.imshow(change, cmap=_CHANGE, vmin=-limit, vmax=limit, extent=extent, interpolation="none")
        left.set_title("before")
        right.set_title("change (points of a row)")
        figure.colorbar(image, ax=left, shrink=0.7, format=PercentFormatter(1.0))
        figure.colorbar(moved, ax=right, shrink=0.7, format=PercentFormatter(1.0))
        for axes in (left, right):
            _label(axes, order, class_names)
        if order.size <= 20:
            _numbers(right, change, limit)
        return figure


def _label(axes: Axes, order: NDArray[np.int64], class_names: Sequence[str] | None) -> None:
    axes.grid(visible=False)
    axes.tick_params(length=0)
    if class_names is not None and order.size <= NAMED_CLASSES:
        names = [short(class_names[c], 16) for c in order]
        axes.set_xticks(range(order.size), names, rotation=45, ha="right", fontsize=8)
        axes.set_yticks(range(order.size), names, fontsize=8)
    ranked = "" if order.size <= NAMED_CLASSES else ", rank by training images"
    axes.set(xlabel=f"predicted class{ranked}", ylabel=f"true class{ranked}")


def _numbers(axes: Axes, change: NDArray[np.float64], limit: float) -> None:
    for row, column in np.argwhere(np.abs(np.nan_to_num(change)) >= 0.005):
        value = float(change[row, column])
        colour = "#ffffff" if abs(value) > 0.7 * limit else INK
        axes.text(column, row, f"{100 * value:+.0f}", ha="center", va="center", fontsize=7, color=colour)
