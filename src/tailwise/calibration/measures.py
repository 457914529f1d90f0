"""ECE, class-wise ECE, Brier score and NLL, under the class frequencies that are asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tailwise.calibration.arrays import Floats, as_labels, as_probabilities, as_weights
from tailwise.core.checks import at_least

#: NLL of a class with probability 0 is that of the smallest positive float64 with full precision, so that it stays
#: finite: about 708 nats.
TINY = np.finfo(np.float64).tiny


@dataclass(frozen=True)
class CalibrationMeasures:
    """Calibration of probabilities on labelled images; fractions, not percent.

    Attributes:
        accuracy: Share of images whose most probable class is theirs.
        ece: Expected calibration error of the largest probability (guo2017calibration, Eq. 3).
        classwise_ece: The same for each class's probability against the class's frequency, meaned over all classes
            (kull2019beyond).
        brier: Mean squared distance of the probabilities from the one-hot label, 0 to 2 (brier1950verification).
        nll: Negative log-likelihood in nats.
    """

    accuracy: float
    ece: float
    classwise_ece: float
    brier: float
    nll: float


def measure_calibration(probabilities: Any, labels: Any, prior: Any = None, bins: int = 15) -> CalibrationMeasures:
    """The measures, on images weighted so that their classes have the frequencies of ``prior``.

    The probabilities are taken as they are. To ask how a network does in a world with another prior, adjust its logits
    to it first (:func:`~tailwise.calibration.prior_shift.adjust_logits`). Classes without an image cannot be weighted:
    the prior is restricted to the others.

    Args:
        probabilities: ``[N, C]``.
        labels: ``[N]``.
        prior: ``[C]``, shares or class counts, ``np.ones(C)`` for uniform; None: the frequencies of ``labels``.
        bins: Bins of equal width from 0 to 1, open on the left.

    Raises:
        ValueError: ``bins`` is below 1.
        DataError: Probabilities, labels or prior of another shape or out of range.
    """
    at_least("bins", bins, 1)
    given = as_probabilities(probabilities)
    num_images, num_classes = given.shape
    target = as_labels(labels, num_images, num_classes)
    weights, rows = as_weights(target, prior, num_classes), np.arange(num_images)
    hit = given.argmax(axis=1) == target
    own = given[rows, target]
    # Sum over classes of (p - onehot)^2.
    squares = (given**2).sum(axis=1) - 2 * own + 1
    by_class = [_gap(given[:, label], target == label, weights, bins) for label in range(num_classes)]
    return CalibrationMeasures(
        accuracy=float(weights @ hit),
        ece=_gap(given.max(axis=1), hit, weights, bins),
        classwise_ece=float(np.mean(by_class)),
        brier=float(weights @ squares),
        nll=-float(weights @ np.log(np.maximum(own, TINY))),
    )


def _gap(confidence: Floats, happened: Any, weights: Floats, bins: int) -> float:
    """Weighted sum over bins of the distance between confidence and frequency."""
    at = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    return float(np.abs(np.bincount(at, weights * (confidence - happened), minlength=bins)).sum())
