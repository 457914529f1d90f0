"""Slow, independent losses written from the printed equations: one sample after another, numpy, float64."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def log_softmax(z: Array) -> Array:
    """Logarithm of the softmax of one sample."""
    top = z.max()
    return z - (top + np.log(sum(np.exp(value - top) for value in z)))


def cross_entropy(z: Array, y: NDArray[np.int64], smoothing: float = 0.0) -> Array:
    """Eq. of Szegedy et al., Sec. 7: cross-entropy against (1 - e) one-hot + e / C."""
    losses: list[float] = []
    for row, label in zip(z, y, strict=True):
        target = np.full(row.size, smoothing / row.size)
        target[label] += 1 - smoothing
        losses.append(-float((target * log_softmax(row)).sum()))
    return np.array(losses)


def balanced_softmax(z: Array, y: NDArray[np.int64], counts: NDArray[np.int64]) -> Array:
    """Ren et al., Eq. 4: -log(n_y e^z_y / sum_c n_c e^z_c), with the largest exponent taken out."""
    losses: list[float] = []
    for row, label in zip(z, y, strict=True):
        top = row.max()
        numerator = counts[label] * np.exp(row[label] - top)
        losses.append(-float(np.log(numerator / sum(n * np.exp(v - top) for n, v in zip(counts, row, strict=True)))))
    return np.array(losses)
