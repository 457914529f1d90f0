"""Length of the classifier's vector of each class by frequency (zhang2019balance, Fig. 4, last panel)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from tailwise.analysis.figure import COLOURS, block_means, blocks, class_axis, frequency_order, new_figure, short, style


def vector_lengths(weight: Any) -> NDArray[np.float64]:
    """Euclidean length of every class vector: ``[C, D]`` -> ``[C]``."""
    return np.linalg.norm(np.asarray(weight, dtype=np.float64), axis=1)


def weight_norms(
    lengths: Mapping[str, Sequence[float] | NDArray[np.float64]],
    counts: Any,
    *,
    class_names: Sequence[str] | None = None,
    shots: str | None = None,
) -> Figure:
    """One line a recipe: lengths of the class vectors, each divided by the mean of its recipe.

    The scale of a classifier depends on its training, so what can be compared is how the lengths change from the
    largest class to the smallest, and how far they scatter; the legend has the mean and the spread as they are.

    Args:
        lengths: Recipe -> length by class, label order, ``[C]``; see :func:`vector_lengths`.
        counts: Training images per class, ``[C]``.
        class_names: Names in label order.
        shots: A shot protocol whose groups are marked.

    Returns:
        Beyond 100 classes a point is the mean of a run of neighbouring classes.
    """
    order = frequency_order(counts)
    runs = blocks(order.size)
    places = [run.mean() for run in runs]
    with style():
        figure, (axes,) = new_figure(3.0)
        for number, (recipe, values) in enumerate(lengths.items()):
            found = np.asarray(values, dtype=np.float64)
            shown = block_means(found[order] / found.mean(), runs)
            label = f"{short(recipe, 24)} (mean {found.mean():.2f}, deviation {found.std():.2f})"
            marker = "o" if order.size <= 30 else ""
            axes.plot(places, shown, color=COLOURS[number % len(COLOURS)], label=label, marker=marker, markersize=3)
        axes.axhline(1, color="#808890", linewidth=0.8)
        axes.set_ylabel("length / mean length")
        class_axis(axes, counts, class_names, shots, label=True)
        figure.legend(loc="outside upper center", ncols=2, fontsize=8.5)
        return figure
