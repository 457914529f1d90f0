"""Class sizes and, below them, the accuracy of each class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, StrMethodFormatter

from tailwise.analysis.figure import (
    INK,
    NAMED_CLASSES,
    block_means,
    blocks,
    class_axis,
    frequency_order,
    look,
    new_figure,
    short,
    style,
)

#: Dots that are drawn as vectors; more of them become a picture.
MOST_DOTS = 1000


def class_counts(
    counts: Any,
    *,
    per_class: Mapping[str, Sequence[float | None]] | None = None,
    class_names: Sequence[str] | None = None,
    shots: str | None = None,
) -> Figure:
    """Training images per class (logarithmic) and the accuracy of every class under each recipe.

    Args:
        counts: Training images per class in label order, ``[C]``.
        per_class: Recipe -> accuracy per class in percent, ``[C]``, ``None`` for a class without test images.
        class_names: Names in label order.
        shots: A shot protocol whose groups are marked.

    Returns:
        One panel, or two with ``per_class``. Beyond 30 classes the accuracy panel shows a dot per class and a line of
        means over runs of neighbouring classes.
    """
    counts = np.asarray(counts)
    order = frequency_order(counts)
    ranks = np.arange(order.size)
    recipes = dict(per_class or {})
    with style():
        options: dict[str, Any] = {"sharex": True, "height_ratios": [1, 1.5]} if recipes else {}
        figure, axes = new_figure(4.6 if recipes else 2.4, 2 if recipes else 1, **options)
        sizes = axes[0]
        if order.size <= NAMED_CLASSES:
            sizes.bar(ranks, counts[order], width=0.72, color=INK, alpha=0.45)
            for rank, count in zip(ranks, counts[order], strict=True):
                sizes.annotate(f"{count:,}", (rank, count), (0, 2), textcoords="offset points", ha="center", fontsize=7)
        else:
            sizes.fill_between(ranks, counts[order], 0.8, step="mid", color=INK, alpha=0.4, linewidth=0)
        sizes.set_yscale("log")
        sizes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        sizes.yaxis.set_minor_formatter(NullFormatter())
        sizes.tick_params(axis="y", which="minor", length=0)
        sizes.set_ylim(max(0.8, 0.5 * counts.min()), counts.max() * 2)
        sizes.set_ylabel("training images")
        class_axis(sizes, counts, class_names, shots, label=not recipes)
        if recipes:
            _accuracies(axes[1], order, recipes)
            class_axis(axes[1], counts, class_names, None, label=True)
        return figure


def _accuracies(axes: Any, order: Any, recipes: Mapping[str, Sequence[float | None]]) -> None:
    ranks = np.arange(order.size)
    for number, (name, values) in enumerate(recipes.items()):
        accuracy = np.array([np.nan if value is None else value for value in values], dtype=np.float64)[order]
        colour, marker, dashes = look(number)
        if order.size <= NAMED_CLASSES:
            shift = (number - (len(recipes) - 1) / 2) * min(0.8 / max(len(recipes), 1), 0.22)
            axes.plot(ranks + shift, accuracy, marker, color=colour, markersize=5, label=short(name, 30))
            axes.vlines(ranks + shift, 0, accuracy, color=colour, linewidth=1, alpha=0.5)
        else:
            # As vectors, thousands of dots would be most of a page.
            axes.plot(
                ranks,
                accuracy,
                "o",
                color=colour,
                markersize=2.2,
                alpha=0.3,
                markeredgewidth=0,
                rasterized=order.size * len(recipes) > MOST_DOTS,
            )
            runs = blocks(order.size, 20)
            axes.plot(
                [run.mean() for run in runs],
                block_means(accuracy, runs),
                color=colour,
                linestyle=dashes,
                label=short(name, 30),
            )
    axes.set_ylim(0, 104)
    axes.set_ylabel("accuracy (%)")
    axes.figure.legend(loc="outside upper left", ncols=4, fontsize=8.5)
