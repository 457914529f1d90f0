"""Temperature scaling: one number that divides all logits (guo2017calibration, Sec. 4.2)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar

from tailwise.calibration.arrays import Floats, as_labels, as_logits, as_weights
from tailwise.calibration.probabilities import log_softmax
from tailwise.core.checks import positive

#: The search stays between these temperatures. On separable images the best one is 0, which no division stands.
LEAST, MOST = 1e-2, 1e3


@dataclass(frozen=True)
class TemperatureScaling:
    """Logits divided by a temperature; the order of the classes stays.

    Args:
        temperature: Above 1 softens, below 1 sharpens the probabilities.

    Raises:
        ValueError: Not a positive number.
    """

    temperature: float = 1.0

    def __post_init__(self) -> None:
        """Checks the value."""
        positive("temperature", self.temperature)

    def __call__(self, logits: Any) -> Floats:
        """Scaled logits ``[N, C]``, float64."""
        return as_logits(logits) / self.temperature


def fit_temperature(logits: Any, labels: Any, prior: Any = None) -> TemperatureScaling:
    """The temperature with the lowest cross-entropy on held-out images.

    The cross-entropy is convex in the inverse temperature, so the bounded search finds its minimum. Deviation from the
    paper: images may be weighted to a prior.

    Args:
        logits: ``[N, C]`` of images that the network was not trained on.
        labels: ``[N]``.
        prior: Class frequencies ``[C]`` to weight the images to; None: as they are.

    Returns:
        A temperature between 0.01 and 1000.

    Raises:
        DataError: Logits, labels or prior of another shape or out of range.
    """
    values = as_logits(logits)
    target = as_labels(labels, *values.shape)
    weights, rows = as_weights(target, prior, values.shape[1]), np.arange(len(values))

    def cross_entropy(log_inverse: float) -> float:
        return -float(weights @ log_softmax(values * math.exp(log_inverse))[rows, target])

    # In the logarithm the function is unimodal, as an increasing change of variable leaves it.
    found: Any = minimize_scalar(
        cross_entropy, bounds=(-math.log(MOST), -math.log(LEAST)), method="bounded", options={"xatol": 1e-8}
    )
    return TemperatureScaling(math.exp(-float(found.x)))
