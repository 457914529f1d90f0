"""From the class frequencies of training to others: logit adjustment, and EM (saerens2002adjusting)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tailwise.calibration.arrays import Floats, as_logits, as_prior, as_probabilities
from tailwise.core.checks import at_least, finite, positive


def adjust_logits(logits: Any, source_prior: Any, target_prior: Any = None, tau: float = 1.0) -> Floats:
    r"""Logits moved from one prior to another, :math:`z_c + \tau \log (\pi^t_c / \pi^s_c)`.

    With :math:`\tau = 1` and calibrated probabilities this is Bayes' rule for changed class frequencies
    (saerens2002adjusting, Eq. 2.4); with a uniform target it is post-hoc logit adjustment (menon2021long, Eq. 9) up
    to a constant that the softmax does not see.

    Args:
        logits: ``[N, C]``.
        source_prior: The prior that the logits are of, ``[C]``: shares or class counts. For a network trained with
            plain cross-entropy that of its training images; for one trained with balanced softmax a uniform one.
        target_prior: The prior to move to, ``[C]``; uniform when not given.
        tau: A finite number; 0 changes nothing.

    Returns:
        ``[N, C]``, float64.

    Raises:
        ValueError: ``tau`` is not finite.
        DataError: Logits or a prior of another shape, or a share that is not positive.
    """
    finite("tau", tau)
    values = as_logits(logits)
    num_classes = values.shape[1]
    source = as_prior(source_prior, num_classes, "source prior")
    target = as_prior(np.ones(num_classes) if target_prior is None else target_prior, num_classes, "target prior")
    return values + tau * (np.log(target) - np.log(source))


@dataclass(frozen=True, eq=False)
class PriorEstimate:
    """What :func:`estimate_prior` found.

    Attributes:
        prior: The estimated class frequencies ``[C]``, sum 1.
        iterations: EM steps that were made.
        converged: Whether the last step changed no share by more than the tolerance.
        log_likelihood: Mean log-likelihood of the images in nats after each step, up to a constant; it never falls.
    """

    prior: Floats
    iterations: int
    converged: bool
    log_likelihood: Floats


def estimate_prior(
    probabilities: Any, source_prior: Any, *, tolerance: float = 1e-7, max_iterations: int = 10_000
) -> PriorEstimate:
    r"""The class frequencies of unlabelled images by expectation maximisation (saerens2002adjusting, Eq. 2.9).

    Each step re-weights the probabilities by :math:`\pi^{(k)}_c / \pi^s_c`, normalises each row, and takes the mean
    over the images. It trusts that only the frequencies changed and that the probabilities are calibrated under the
    source prior: fit a temperature first.

    Args:
        probabilities: ``[N, C]`` of the unlabelled images.
        source_prior: The prior that the probabilities are of, ``[C]``: shares or class counts.
        tolerance: Largest change of a share in a step at which EM has converged.
        max_iterations: Most steps.

    Raises:
        ValueError: ``tolerance`` is not positive or ``max_iterations`` below 1.
        DataError: Probabilities or prior of another shape or out of range.
    """
    positive("tolerance", tolerance)
    at_least("max_iterations", max_iterations, 1)
    given = as_probabilities(probabilities)
    source = as_prior(source_prior, given.shape[1], "source prior")
    ratio, prior = given / source, source
    likelihood: list[float] = []
    for step in range(1, max_iterations + 1):
        joint = ratio * prior
        # A row of which every class has vanished keeps its class by the smallest positive number.
        total = np.maximum(joint.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
        updated = (joint / total).mean(axis=0)
        updated /= updated.sum()
        likelihood.append(float(np.log(total).mean()))
        change, prior = float(np.abs(updated - prior).max()), updated
        if change <= tolerance:
            return PriorEstimate(prior, step, True, np.array(likelihood))
    return PriorEstimate(prior, max_iterations, False, np.array(likelihood))
