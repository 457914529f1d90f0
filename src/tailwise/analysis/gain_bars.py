"""What each class gains or loses against a baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from tailwise.analysis.figure import (
    GAIN,
    LOSS,
    block_means,
    blocks,
    class_axis,
    frequency_order,
    new_figure,
    short,
    style,
)


def gain_bars(
    gains: Mapping[str, Sequence[float | None]],
    counts: Any,
    *,
    baseline: str,
    class_names: Sequence[str] | None = None,
    shots: str | None = None,
) -> Figure:
    """One row of bars per recipe: accuracy minus the baseline's, in points.

    See :func:`gains_over` for one recipe against several baselines.

    Args:
        gains: Recipe -> gain per class in points, label order, ``[C]``, ``None`` where unknown.
        counts: Training images per class, ``[C]``.
        baseline: Name of the recipe that was subtracted.
        class_names: Names in label order.
        shots: A shot protocol whose groups are marked.

    Returns:
        Beyond 100 classes a bar is the mean over a run of neighbouring classes, as wide as the run.
    """
    titled = {f"{short(name, 36)} \N{MINUS SIGN} {short(baseline, 36)}": values for name, values in gains.items()}
    return _bars(titled, counts, class_names, shots)


def gains_over(
    accuracy: Sequence[float | None],
    baselines: Mapping[str, Sequence[float | None]],
    counts: Any,
    *,
    name: str,
    class_names: Sequence[str] | None = None,
    shots: str | None = None,
) -> Figure:
    """One recipe against several baselines, a row of bars for each, as in Fig. 3 of zhang2019balance.

    Args:
        accuracy: Of the recipe by class in percent, label order, ``[C]``, ``None`` where unknown.
        baselines: Baseline -> the same.
        counts: Training images per class, ``[C]``.
        name: What the recipe is called.
        class_names: Names in label order.
        shots: A shot protocol whose groups are marked.

    Returns:
        Bars of accuracy minus that of the baseline in points, drawn as :func:`gain_bars` draws them.
    """
    titled = {
        f"{short(name, 36)} \N{MINUS SIGN} {short(baseline, 36)}": [
            None if mine is None or theirs is None else mine - theirs
            for mine, theirs in zip(accuracy, values, strict=True)
        ]
        for baseline, values in baselines.items()
    }
    return _bars(titled, counts, class_names, shots)


def _bars(
    gains: Mapping[str, Sequence[float | None]], counts: Any, class_names: Sequence[str] | None, shots: str | None
) -> Figure:
    """A panel for each title."""
    order = frequency_order(counts)
    runs = blocks(order.size)
    with style():
        tall = 1.6 if len(gains) <= 4 else 1.1
        figure, axes = new_figure(0.7 + tall * len(gains), len(gains), sharex=True, sharey=True)
        limit = 1.0
        for number, (title, values) in enumerate(gains.items()):
            panel = axes[number]
            gain = np.array([np.nan if value is None else value for value in values], dtype=np.float64)[order]
            height = np.nan_to_num(block_means(gain, runs))
            limit = max(limit, float(np.abs(height).max()))
            panel.bar(
                [run.mean() for run in runs],
                height,
                width=[max(run.size * (0.72 if order.size <= 30 else 0.9), 0.5) for run in runs],
                color=np.where(height >= 0, GAIN, LOSS).tolist(),
            )
            panel.axhline(0, color="#808890", linewidth=0.8)
            panel.set_title(title, pad=14 if number == 0 else 4)
            panel.set_ylabel("points")
            class_axis(panel, counts, class_names, shots if number == 0 else None, label=number == len(gains) - 1)
        axes[0].set_ylim(-1.08 * limit, 1.08 * limit)
        return figure
