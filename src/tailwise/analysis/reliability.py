"""Confidence against accuracy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from tailwise.analysis.figure import INK, look, new_figure, short, style


def reliability(bins: Mapping[str, Mapping[str, Any]], ece: Mapping[str, float | None]) -> Figure:
    """Reliability diagram (Guo et al. 2017, Figure 1) and how the confidences are distributed.

    Args:
        bins: Recipe -> ``edges`` ``[bins + 1]``, ``accuracy``, ``confidence`` (fractions, ``None`` in an empty bin) and
            ``count``, each ``[bins]``.
        ece: Recipe -> expected calibration error in percent, for the legend.
    """
    with style():
        figure, (diagram, shares) = new_figure(3.4, 1, 2, width_ratios=[1, 1])
        diagram.plot([0, 100], [0, 100], color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
        diagram.annotate("over-confident", (78, 22), ha="center", fontsize=8, alpha=0.75)
        diagram.annotate("under-confident", (22, 78), ha="center", fontsize=8, alpha=0.75)
        for number, (recipe, row) in enumerate(bins.items()):
            colour, marker, dashes = look(number)
            accuracy = np.array([np.nan if value is None else 100 * value for value in row["accuracy"]])
            confidence = np.array([np.nan if value is None else 100 * value for value in row["confidence"]])
            filled = np.isfinite(accuracy) & np.isfinite(confidence)
            count = np.asarray(row["count"], dtype=np.float64)
            size = 8 + 90 * count[filled] / max(count.sum(), 1.0)
            error = ece.get(recipe)
            label = short(recipe, 26) + (f" (ECE {error:.1f} %)" if error is not None else "")
            diagram.plot(
                confidence[filled], accuracy[filled], color=colour, linewidth=1.2, linestyle=dashes, label=label
            )
            diagram.scatter(confidence[filled], accuracy[filled], s=size, color=colour, marker=marker, linewidths=0)
            edges = 100 * np.asarray(row["edges"], dtype=np.float64)
            shares.stairs(100 * count / max(count.sum(), 1.0), edges, color=colour, linewidth=1.6, linestyle=dashes)
        diagram.set(xlim=(0, 101), ylim=(0, 101), xlabel="confidence (%)", ylabel="accuracy (%)")
        diagram.set_title("accuracy at each confidence")
        diagram.set_aspect("equal")
        shares.set(xlim=(0, 101), xlabel="confidence (%)", ylabel="test images (%)")
        shares.set_title("how often each confidence occurs")
        shares.set_ylim(bottom=0)
        figure.legend(loc="outside upper left", ncols=3, fontsize=8.5)
        return figure
