"""Changes of the classifier and learnable weight scaling, one image and one class at a time in float64 from the papers'
equations.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def tau_norm(weight: Array, bias: Array, features: Array, tau: float, *, keep_bias: bool) -> Array:
    """kang2020decoupling: every class vector divided by a power of its length."""
    logits = np.empty((len(features), len(weight)))
    for i, x in enumerate(features):
        for c, w in enumerate(weight):
            length = math.sqrt(sum(value * value for value in w))
            dot = sum(a * b for a, b in zip(w, x, strict=True))
            logits[i, c] = dot / length**tau + (bias[c] if keep_bias else 0.0)
    return logits


def logit_adjustment(logits: Array, counts: Sequence[int], tau: float) -> Array:
    """menon2021long, Eq. 9: each logit minus a multiple of the log frequency of its class."""
    return np.array([[z - tau * math.log(n / sum(counts)) for z, n in zip(row, counts, strict=True)] for row in logits])


def scaled(weight: Array, bias: Array, scale: Array, features: Array, *, scale_bias: bool) -> Array:
    """kang2020decoupling, LWS: a factor for every class."""
    logits = np.empty((len(features), len(weight)))
    for i, x in enumerate(features):
        for c, w in enumerate(weight):
            logits[i, c] = scale[c] * float(w @ x) + (scale[c] if scale_bias else 1.0) * bias[c]
    return logits


def nearest_class_mean(train: Array, labels: NDArray[np.int64], test: Array, similarity: str, form: str) -> Array:
    """kang2020decoupling: cosine similarity or negative squared distance to the class means, ``[B, C]``."""
    center = train.mean(0) if form == "centered" else np.zeros(train.shape[1])

    def transform(x: Array) -> Array:
        moved = x - center
        return moved if form == "raw" else moved / np.linalg.norm(moved)

    means = [np.mean([transform(x) for x in train[labels == c]], axis=0) for c in range(labels.max() + 1)]
    if similarity == "cosine":
        return np.array([[_cosine(transform(x), mean) for mean in means] for x in test])
    return np.array([[-float(((transform(x) - mean) ** 2).sum()) for mean in means] for x in test])


def _cosine(a: Array, b: Array) -> float:
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))
