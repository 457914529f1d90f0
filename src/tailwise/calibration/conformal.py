"""Prediction sets that hold the true class with a stated probability: split conformal prediction."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from tailwise.calibration.arrays import Floats, as_labels, as_prior, as_probabilities
from tailwise.core.errors import DataError, UnknownName

Method = Literal["split", "class_conditional", "prevalence_adjusted"]


@dataclass(frozen=True, eq=False)
class ConformalSets:
    """Thresholds that turn probabilities into prediction sets; :func:`fit_conformal` makes one.

    Attributes:
        method: How the thresholds were found.
        miscoverage: Share of images whose set may miss the true class (alpha).
        thresholds: ``[C]``; a class is in the set when its score is at most this. Infinite where a class had too few
            calibration images for the promise: it is then in every set.
        prior: ``[C]``, what the probabilities are divided by in the score; ones but for ``prevalence_adjusted``.
    """

    method: Method
    miscoverage: float
    thresholds: Floats
    prior: Floats

    def __call__(self, probabilities: Any) -> NDArray[np.bool_]:
        """Whether each class is in the set of each image: ``[N, C]`` from ``[N, C]``; a set may be empty.

        Raises:
            DataError: No probabilities, or another number of classes.
        """
        given = as_probabilities(probabilities)
        if given.shape[1] != self.thresholds.size:
            raise DataError(f"calibrated for {self.thresholds.size} classes, got probabilities of {given.shape[1]}")
        return _scores(given, self.prior) <= self.thresholds


def fit_conformal(
    probabilities: Any,
    labels: Any,
    *,
    method: Method = "split",
    miscoverage: float = 0.1,
    source_prior: Any = None,
) -> ConformalSets:
    r"""Thresholds from held-out images that are exchangeable with those to come.

    - ``split``: score :math:`-p_y` (sadinle2019least), one threshold. At least :math:`1 - \alpha` of all sets hold
      their class; those of rare classes may hold it far less often.
    - ``class_conditional``: a threshold for every class (Mondrian; sadinle2019least, Sec. 2.3; vovk2005algorithmic).
      The promise holds for each class. A class with fewer than :math:`1 / \alpha - 1` held-out images is in every set,
      so sets are large on a long tail.
    - ``prevalence_adjusted``: score :math:`-p_y / \pi_y` and one threshold (ding2026conformal). The promise is that
      of ``split``, over all images; among the sets of the same size, these aim at the highest mean coverage over
      classes.

    The threshold is the :math:`\lceil (n + 1)(1 - \alpha) \rceil`-th smallest score of the ``n`` images. Deviation from
    textbooks that use :math:`1 - p_y`: the sets are the same.

    Args:
        probabilities: ``[N, C]`` of images that neither training nor selection has used.
        labels: ``[N]``.
        method: One of the three.
        miscoverage: :math:`\alpha`, above 0 and below 1.
        source_prior: :math:`\pi` of ``prevalence_adjusted``, ``[C]``: shares or class counts of the images to come.

    Raises:
        UnknownName: No such method.
        ValueError: ``miscoverage`` is out of range.
        DataError: Probabilities, labels or prior of another shape or out of range; no prior where it is needed.
    """
    if method not in get_args(Method):
        raise UnknownName("conformal method", method, get_args(Method))
    if not 0 < miscoverage < 1:
        raise ValueError(f"miscoverage must be above 0 and below 1, got {miscoverage}")
    given = as_probabilities(probabilities)
    num_images, num_classes = given.shape
    target = as_labels(labels, num_images, num_classes)
    prior = np.ones(num_classes)
    if method == "prevalence_adjusted":
        if source_prior is None:
            raise DataError("prevalence_adjusted needs source_prior: the class frequencies or counts")
        prior = as_prior(source_prior, num_classes, "source prior")
    own = _scores(given, prior)[np.arange(num_images), target]
    if method == "class_conditional":
        thresholds = np.array([_quantile(own[target == label], miscoverage) for label in range(num_classes)])
    else:
        thresholds = np.full(num_classes, _quantile(own, miscoverage))
    return ConformalSets(method, miscoverage, thresholds, prior)


def _scores(probabilities: Floats, prior: Floats) -> Floats:
    return -probabilities / prior


def _quantile(scores: Floats, miscoverage: float) -> float:
    # Rounded first: (9 + 1) * (1 - 0.1) is a little more than 9 in floating point, and its ceiling would be 10.
    rank = math.ceil(round((scores.size + 1) * (1 - miscoverage), 9))
    return math.inf if rank > scores.size else float(np.sort(scores)[rank - 1])
