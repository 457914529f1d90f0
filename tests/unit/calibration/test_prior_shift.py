"""Changed class frequencies: Bayes' rule one image at a time, and EM that finds them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

from tailwise.calibration import adjust_logits, estimate_prior, softmax, tau_normalise
from tailwise.core.errors import DataError
from tests.unit.calibration.cases import PRIOR, draw, problems


def test_adjusted_probabilities_are_those_of_bayes_rule() -> None:
    logits, _ = draw(20)
    target = np.array([0.1, 0.2, 0.3, 0.4])
    found = softmax(adjust_logits(logits, PRIOR, target))
    for row, z in zip(found, logits, strict=True):
        p = [np.exp(value) / np.exp(z).sum() for value in z]
        moved = [value * new / old for value, new, old in zip(p, target, PRIOR, strict=True)]
        np.testing.assert_allclose(row, np.array(moved) / sum(moved), rtol=1e-12)


@given(problems())
def test_an_adjustment_is_undone_by_the_opposite_one_and_none_by_the_same_prior(problem: tuple) -> None:
    logits, _, prior = problem
    uniform = np.ones(prior.size)
    there = adjust_logits(logits, uniform, prior)
    np.testing.assert_allclose(softmax(adjust_logits(there, prior)), softmax(logits), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(adjust_logits(logits, prior, prior), logits, atol=1e-12)


def test_counts_are_a_prior_too() -> None:
    logits, _ = draw(5)
    np.testing.assert_allclose(adjust_logits(logits, [12, 5, 2, 1]), adjust_logits(logits, PRIOR), rtol=1e-12)


def test_half_a_tau_moves_half_as_far() -> None:
    logits, _ = draw(5)
    np.testing.assert_allclose(
        2 * (adjust_logits(logits, PRIOR, tau=0.5) - logits), adjust_logits(logits, PRIOR) - logits, rtol=1e-9
    )


def slow_em(probabilities: np.ndarray, source: np.ndarray, steps: int) -> np.ndarray:
    prior = list(source)
    for _ in range(steps):
        total = [0.0] * len(prior)
        for p in probabilities:
            joint = [q * new / old for q, new, old in zip(p, prior, source, strict=True)]
            for c, value in enumerate(joint):
                total[c] += value / sum(joint)
        prior = [value / len(probabilities) for value in total]
    return np.array(prior)


def test_em_equals_the_printed_equations() -> None:
    probabilities = softmax(draw(40, [1, 1, 1, 1])[0])
    estimate = estimate_prior(probabilities, PRIOR, max_iterations=7)
    assert not estimate.converged
    np.testing.assert_allclose(estimate.prior, slow_em(probabilities, PRIOR, 7), rtol=1e-9)


def test_em_finds_an_unknown_prior_that_is_the_reverse_of_training() -> None:
    logits, labels = draw(6000, PRIOR[::-1], seed=1)
    estimate = estimate_prior(softmax(logits), PRIOR)
    truth = np.bincount(labels) / labels.size
    assert estimate.converged
    assert np.abs(estimate.prior - truth).max() < 0.03  # without EM, the mean probability is off by
    assert np.abs(softmax(logits).mean(axis=0) - truth).max() > 0.08


@given(problems())
def test_the_likelihood_of_em_never_falls_and_the_prior_stays_one(problem: tuple) -> None:
    logits, _, prior = problem
    estimate = estimate_prior(softmax(logits), prior, max_iterations=25)
    assert np.all(np.diff(estimate.log_likelihood) >= -1e-9)
    assert estimate.prior.sum() == pytest.approx(1.0)
    assert (estimate.prior >= 0).all()


def test_tau_normalisation_is_that_of_the_paper() -> None:
    weight = np.array([[3.0, 4.0], [0.0, 2.0], [0.0, 0.0]])
    np.testing.assert_allclose(tau_normalise(weight, 1.0), [[0.6, 0.8], [0.0, 1.0], [0.0, 0.0]], rtol=1e-12)
    np.testing.assert_allclose(tau_normalise(weight, 0.5)[0], np.array([3.0, 4.0]) / 5**0.5, rtol=1e-12)
    np.testing.assert_allclose(tau_normalise(weight, 0.0), weight)


def test_bad_input_is_told() -> None:
    logits, _ = draw(3)
    with pytest.raises(ValueError, match="tau must be a finite number, got nan"):
        adjust_logits(logits, PRIOR, tau=float("nan"))
    with pytest.raises(DataError, match=r"source prior must have one share for each of 4 classes, got shape \[3\]"):
        adjust_logits(logits, PRIOR[:3])
    with pytest.raises(DataError, match="target prior must be positive for every class, got 0 for class 1"):
        adjust_logits(logits, PRIOR, [1, 0, 1, 1])
    with pytest.raises(DataError, match=r"logits must be \[images, classes\].*got \[4\]"):
        adjust_logits(logits[0], PRIOR)
    with pytest.raises(DataError, match=r"logits must be finite, and 1 rows are not \(first: row 2\)"):
        adjust_logits(np.vstack([logits[:2], np.full((1, 4), np.inf)]), PRIOR)
    with pytest.raises(DataError, match=r"sum 1 in each row; row \d.*For logits, call softmax first"):
        estimate_prior(logits, PRIOR)
    with pytest.raises(ValueError, match="tolerance must be a positive number, got 0"):
        estimate_prior(softmax(logits), PRIOR, tolerance=0)
    with pytest.raises(ValueError, match="max_iterations must be at least 1, got 0"):
        estimate_prior(softmax(logits), PRIOR, max_iterations=0)
