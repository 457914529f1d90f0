"""Calibration measures and the selective risk curve, one image at a time in plain Python."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given

from tailwise.calibration import measure_calibration, risk_coverage, softmax
from tailwise.core.errors import DataError
from tests.unit.calibration.cases import PRIOR, draw, problems


def gap(confidence: list[float], happened: list[bool], weights: list[float], bins: int) -> float:
    total = 0.0
    for number in range(bins):
        low, high = number / bins, (number + 1) / bins
        inside = [i for i, c in enumerate(confidence) if low < c <= high or (number == 0 and c == 0)]
        mass = sum(weights[i] for i in inside)
        if mass > 0:
            accuracy = sum(weights[i] * happened[i] for i in inside) / mass
            total += mass * abs(accuracy - sum(weights[i] * confidence[i] for i in inside) / mass)
    return total


def slow(p: np.ndarray, labels: np.ndarray, prior: np.ndarray | None, bins: int) -> list[float]:
    n, c = p.shape
    present = [label for label in range(c) if label in labels]
    share = None if prior is None else {label: prior[label] / sum(prior[k] for k in present) for label in present}
    weights = [1 / n if share is None else share[y] / list(labels).count(y) for y in labels]
    best = [int(np.argmax(row)) for row in p]
    by_class = [gap([row[k] for row in p], [y == k for y in labels], weights, bins) for k in range(c)]
    return [
        sum(w for w, guess, y in zip(weights, best, labels, strict=True) if guess == y),
        gap([max(row) for row in p], [guess == y for guess, y in zip(best, labels, strict=True)], weights, bins),
        sum(by_class) / c,
        sum(w * sum((row[k] - (k == y)) ** 2 for k in range(c)) for w, row, y in zip(weights, p, labels, strict=True)),
        sum(-w * math.log(max(row[y], 2.3e-308)) for w, row, y in zip(weights, p, labels, strict=True)),
    ]


@given(problems())
def test_measures_equal_slow_ones_under_any_prior(problem: tuple) -> None:
    logits, labels, prior = problem
    p = softmax(logits)
    p = p / p.sum(axis=1, keepdims=True)
    for given_prior in (None, prior, np.ones(prior.size)):
        found = measure_calibration(p, labels, given_prior, bins=7)
        values = [found.accuracy, found.ece, found.classwise_ece, found.brier, found.nll]
        assert values == pytest.approx(slow(p, labels, given_prior, 7), rel=1e-9, abs=1e-9)


def test_ece_agrees_with_the_one_of_the_evaluation() -> None:
    import torch
    from torchmetrics.functional.classification import multiclass_calibration_error

    logits, labels = draw(500, sharpness=2.0)
    p = softmax(logits)
    other = multiclass_calibration_error(torch.from_numpy(p), torch.from_numpy(labels), 4, n_bins=15)
    assert measure_calibration(p, labels).ece == pytest.approx(float(other), abs=1e-6)


def test_the_frequencies_of_the_labels_change_nothing_and_uniform_ones_give_balanced_accuracy() -> None:
    logits, labels = draw(400)
    p = softmax(logits)
    plain = measure_calibration(p, labels)
    own = measure_calibration(p, labels, np.bincount(labels))
    assert own.nll == pytest.approx(plain.nll)
    balanced = np.mean([(p.argmax(1) == labels)[labels == c].mean() for c in range(4)])
    assert measure_calibration(p, labels, np.ones(4)).accuracy == pytest.approx(balanced)


def test_perfect_and_hopeless_probabilities() -> None:
    perfect = measure_calibration(np.eye(3), np.arange(3))
    assert (perfect.accuracy, perfect.ece, perfect.classwise_ece, perfect.brier, perfect.nll) == (1, 0, 0, 0, 0)
    hopeless = measure_calibration(np.eye(3), np.array([1, 2, 0]))
    assert hopeless.ece == pytest.approx(1)
    assert hopeless.brier == pytest.approx(2)
    assert 700 < hopeless.nll < 710


@given(problems())
def test_the_risk_curve_equals_a_count_at_every_threshold(problem: tuple) -> None:
    logits, labels, _ = problem
    p = softmax(logits)
    curve = risk_coverage(p, labels)
    p = p / p.sum(axis=1, keepdims=True)
    assert curve.coverage[-1] == pytest.approx(1.0)
    assert (np.diff(curve.coverage) > 0).all()
    for confidence, coverage, risk in zip(curve.confidence, curve.coverage, curve.risk, strict=True):
        answered = [i for i, row in enumerate(p) if max(row) >= confidence]
        assert coverage == pytest.approx(len(answered) / len(p))
        wrong = sum(int(np.argmax(p[i])) != labels[i] for i in answered)
        assert risk == pytest.approx(wrong / len(answered))


@given(problems())
def test_the_risk_curve_does_not_depend_on_the_order_of_the_images(problem: tuple) -> None:
    logits, labels, _ = problem
    p, order = softmax(logits), np.random.default_rng(1).permutation(len(labels))
    left, right = risk_coverage(p, labels), risk_coverage(p[order], labels[order])
    np.testing.assert_allclose(left.risk, right.risk, atol=1e-12)
    np.testing.assert_allclose(left.coverage, right.coverage, atol=1e-12)


def test_the_threshold_for_a_risk_answers_as_many_as_it_can() -> None:
    p = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4]])
    curve = risk_coverage(p, np.array([0, 1, 0, 0]))
    assert curve.risk == pytest.approx([0, 1 / 2, 1 / 3, 1 / 4])
    assert curve.threshold(0.25) == pytest.approx(0.6)
    assert curve.threshold(0.1) == pytest.approx(0.9)
    assert curve.area == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 4) / 4)
    assert risk_coverage(p, np.ones(4, int)).threshold(0.5) is None


def test_a_uniform_prior_ends_the_curve_at_the_balanced_error() -> None:
    logits, labels = draw(400)
    p = softmax(logits)
    balanced = np.mean([(p.argmax(1) != labels)[labels == c].mean() for c in range(4)])
    assert risk_coverage(p, labels, np.ones(4)).risk[-1] == pytest.approx(balanced)
    assert risk_coverage(p, labels, PRIOR).risk[-1] < balanced


def test_bad_input_is_told() -> None:
    p = softmax(draw(5)[0])
    with pytest.raises(ValueError, match="bins must be at least 1, got 0"):
        measure_calibration(p, np.zeros(5, int), bins=0)
    with pytest.raises(DataError, match=r"minimum -0\.5 and sum 1"):
        measure_calibration(np.array([[1.5, -0.5]]), np.array([0]))
    with pytest.raises(ValueError, match="most_risk must be from 0 to 1, got 2"):
        risk_coverage(p, np.zeros(5, int)).threshold(2)
