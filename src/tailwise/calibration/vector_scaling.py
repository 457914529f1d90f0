"""Vector scaling: a factor and a shift for every class (guo2017calibration, Sec. 4.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize

from tailwise.calibration.arrays import Floats, as_labels, as_logits, as_weights
from tailwise.calibration.probabilities import log_softmax
from tailwise.core.checks import at_least
from tailwise.core.errors import DataError


@dataclass(frozen=True, eq=False)
class VectorScaling:
    """Logits times a factor plus a shift for each class.

    Args:
        scale: ``[C]``.
        shift: ``[C]``.

    Raises:
        DataError: Two different shapes, or a value that is not finite.
    """

    scale: Floats
    shift: Floats

    def __post_init__(self) -> None:
        """Checks both arrays."""
        if self.scale.ndim != 1 or self.scale.shape != self.shift.shape:
            raise DataError(
                f"scale and shift must have one number a class each, got {list(self.scale.shape)} and "
                f"{list(self.shift.shape)}"
            )
        as_logits(np.stack([self.scale, self.shift]), "scale and shift")

    def __call__(self, logits: Any) -> Floats:
        """Scaled logits ``[N, C]``, float64.

        Raises:
            DataError: Another number of classes.
        """
        values = as_logits(logits)
        if values.shape[1] != self.scale.size:
            raise DataError(f"scaled for {self.scale.size} classes, got logits of {values.shape[1]}")
        return values * self.scale + self.shift


def fit_vector_scaling(logits: Any, labels: Any, prior: Any = None, penalty: float = 1e-3) -> VectorScaling:
    r"""Factors and shifts with the lowest penalised cross-entropy on held-out images.

    The penalty :math:`\lambda (\lVert s - 1 \rVert^2 + \lVert b \rVert^2)` makes the minimum unique and keeps a class
    with few held-out images near where it was. Deviation from the paper, which has none; 0 gives its form.

    Args:
        logits: ``[N, C]`` of images that the network was not trained on.
        labels: ``[N]``.
        prior: Class frequencies ``[C]`` to weight the images to; None: as they are.
        penalty: :math:`\lambda`, at least 0.

    Raises:
        ValueError: ``penalty`` is below 0.
        DataError: Logits, labels or prior of another shape or out of range.
    """
    at_least("penalty", penalty, 0)
    values = as_logits(logits)
    num_images, num_classes = values.shape
    target = as_labels(labels, num_images, num_classes)
    weights, rows = as_weights(target, prior, num_classes), np.arange(num_images)

    def objective(point: Floats) -> tuple[float, Floats]:
        scale, shift = point[:num_classes], point[num_classes:]
        log_p = log_softmax(values * scale + shift)
        error = np.exp(log_p)
        error[rows, target] -= 1
        error *= weights[:, None]
        away = np.concatenate([scale - 1, shift])
        gradient = np.concatenate([(error * values).sum(axis=0), error.sum(axis=0)]) + 2 * penalty * away
        return -float(weights @ log_p[rows, target]) + penalty * float(away @ away), gradient

    start = np.concatenate([np.ones(num_classes), np.zeros(num_classes)])
    options = {"maxiter": 2000, "maxfun": 20_000, "ftol": 1e-14, "gtol": 1e-9}
    found: Any = minimize(objective, start, jac=True, method="L-BFGS-B", options=options)
    return VectorScaling(np.array(found.x[:num_classes]), np.array(found.x[num_classes:]))
