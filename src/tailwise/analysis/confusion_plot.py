"""The confusion matrix, readable from a handful of classes to thousands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from tailwise.analysis.figure import INK, NAMED_CLASSES, STRONG, blocks, frequency_order, short, style
from tailwise.evaluation.shots import GROUPS, shot_groups

#: From nothing to blue through transparency, so that zero has the colour of the page.
BLUES = LinearSegmentedColormap.from_list("blues", [(0.0, 0.37, 0.66, 0.0), (0.0, 0.37, 0.66, 1.0)])


def confusion_plot(
    confusion: Any, counts: Any, *, class_names: Sequence[str] | None = None, shots: str | None = None
) -> Figure:
    """Share of each true class (row) that was predicted as each class (column), classes in frequency order.

    Args:
        confusion: Images per (true, predicted) in label order, ``[C, C]``.
        counts: Training images per class, ``[C]``.
        class_names: Names in label order; drawn up to 30 classes, with the percentage in each cell up to 20.
        shots: A shot protocol whose groups are marked.

    Returns:
        Beyond 100 classes a cell stands for a run of neighbouring classes: rows are averaged, columns added, so that
        each row still sums to one. A class without test images is an empty row. The colour scale is a square root.
    """
    order = frequency_order(counts)
    runs = blocks(order.size)
    share = shares(np.asarray(confusion, dtype=np.float64)[np.ix_(order, order)], runs)
    size = order.size
    with style():
        side = 4.4 if size > 12 else 3.6
        figure = Figure(figsize=(side + 1.4, side), layout="constrained")
        axes = figure.add_subplot()
        axes.grid(visible=False)
        image = axes.imshow(
            share,
            cmap=BLUES,
            norm=PowerNorm(0.5, 0, 1),
            extent=(-0.5, size - 0.5, size - 0.5, -0.5),
            interpolation="none",
        )
        bar = figure.colorbar(image, ax=axes, shrink=0.8, format=PercentFormatter(1.0), ticks=[0, 0.05, 0.25, 0.5, 1])
        bar.outline.set_visible(False)  # type: ignore[operator]
        bar.ax.grid(visible=False)
        if class_names is not None and size <= NAMED_CLASSES:
            names = [short(class_names[c], 16) for c in order]
            axes.set_xticks(range(size), names, rotation=45, ha="right", fontsize=8)
            axes.set_yticks(range(size), names, fontsize=8)
        else:
            ticks = np.unique(np.linspace(0, size - 1, 6).round().astype(int))
            axes.set_xticks(ticks.tolist(), [str(tick + 1) for tick in ticks])
            axes.set_yticks(ticks.tolist(), [str(tick + 1) for tick in ticks])
        ranked = "" if size <= NAMED_CLASSES else ", rank by training images"
        axes.set(xlabel=f"predicted class{ranked}", ylabel=f"true class{ranked}")
        axes.tick_params(length=0)
        if size <= 20:
            for row in range(size):
                for column in range(size):
                    value = share[row, column]
                    if value >= 0.005:
                        # From here on white has the greater contrast with the blue, on light and on dark pages.
                        colour = "#ffffff" if value > 0.66 else STRONG
                        axes.text(
                            column, row, f"{100 * value:.0f}", ha="center", va="center", fontsize=7.5, color=colour
                        )
        if shots is not None:
            masks = shot_groups(shots, counts)
            for group in GROUPS:
                ranks = np.flatnonzero(masks[group][order])
                if ranks.size and ranks[0] > 0:
                    axes.axhline(float(ranks[0]) - 0.5, color=INK, linewidth=0.7, linestyle=(0, (1, 2)))
                    axes.axvline(float(ranks[0]) - 0.5, color=INK, linewidth=0.7, linestyle=(0, (1, 2)))
        return figure


def shares(confusion: NDArray[np.float64], runs: Sequence[NDArray[np.int64]]) -> NDArray[np.float64]:
    """Row shares of runs of classes, ``[runs, runs]``; NaN rows where no class of the run has a test image."""
    totals = confusion.sum(axis=1, keepdims=True)
    rows = np.divide(confusion, totals, out=np.full_like(confusion, np.nan), where=totals > 0)
    starts = [int(run[0]) for run in runs]
    added = np.add.reduceat(rows, starts, axis=1)
    found = np.full((len(runs), len(runs)), np.nan)
    for number, run in enumerate(runs):
        tested = added[run][np.isfinite(added[run][:, 0])]
        if len(tested):
            found[number] = tested.mean(axis=0)
    return found
