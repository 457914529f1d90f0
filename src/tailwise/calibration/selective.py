"""Risk against coverage of a classifier that may abstain (geifman2017selective)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tailwise.calibration.arrays import Floats, as_labels, as_probabilities, as_weights
from tailwise.core.checks import within


@dataclass(frozen=True, eq=False)
class RiskCoverage:
    """Points of the curve, one for each different confidence, from the highest to the lowest.

    Attributes:
        confidence: ``[K]``; images with at least this confidence are answered.
        coverage: ``[K]``, share of images that are answered, ending at 1.
        risk: ``[K]``, share of wrong answers among these.
    """

    confidence: Floats
    coverage: Floats
    risk: Floats

    @property
    def area(self) -> float:
        """Area under the risk as a step function of the coverage: 0 at best, the error rate when chance decides."""
        return float(np.diff(self.coverage, prepend=0.0) @ self.risk)

    def threshold(self, most_risk: float) -> float | None:
        """The lowest confidence to answer at so that no more than ``most_risk`` of the answers are wrong, or None.

        Among all thresholds that keep the risk on these images, the one that answers most. It promises nothing about
        other images.

        Raises:
            ValueError: Not from 0 to 1.
        """
        within("most_risk", most_risk, 0, 1)
        allowed = np.flatnonzero(self.risk <= most_risk)
        return float(self.confidence[allowed[-1]]) if allowed.size else None


def risk_coverage(probabilities: Any, labels: Any, prior: Any = None) -> RiskCoverage:
    """The curve of a classifier that answers when its largest probability is high enough.

    Images of equal confidence are answered together, so the curve does not depend on their order.

    Args:
        probabilities: ``[N, C]``.
        labels: ``[N]``.
        prior: Class frequencies ``[C]`` to weight the images to; None: as they are.

    Raises:
        DataError: Probabilities, labels or prior of another shape or out of range.
    """
    given = as_probabilities(probabilities)
    target = as_labels(labels, *given.shape)
    weights = as_weights(target, prior, given.shape[1])
    confidence = given.max(axis=1)
    order = np.argsort(-confidence, kind="stable")
    wrong = weights * (given.argmax(axis=1) != target)
    ranked = confidence[order]
    last = np.append(ranked[1:] != ranked[:-1], True)
    covered = np.cumsum(weights[order])[last]
    risk = np.cumsum(wrong[order])[last] / covered
    return RiskCoverage(ranked[last], np.minimum(covered / covered[-1], 1.0), np.clip(risk, 0.0, 1.0))
