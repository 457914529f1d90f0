"""Temperature and vector scaling against a slow search and against the optimality conditions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from scipy.optimize import approx_fprime

from tailwise.calibration import TemperatureScaling, VectorScaling, fit_temperature, fit_vector_scaling, softmax
from tailwise.core.errors import DataError
from tests.unit.calibration.cases import PRIOR, draw, problems


def cross_entropy(logits: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> float:
    total = 0.0
    for z, y, weight in zip(logits, labels, weights, strict=True):
        total += weight * (math.log(sum(math.exp(value - z.max()) for value in z)) + z.max() - z[y])
    return total


def test_the_temperature_undoes_a_known_sharpness() -> None:
    logits, labels = draw(8000, sharpness=3.0)
    assert fit_temperature(logits, labels).temperature == pytest.approx(3.0, rel=0.06)


def test_no_temperature_on_a_fine_grid_is_better() -> None:
    logits, labels = draw(60, sharpness=2.0, seed=3)
    weights = np.full(60, 1 / 60)
    found = fit_temperature(logits, labels).temperature
    grid = {t: cross_entropy(logits / t, labels, weights) for t in np.geomspace(0.3, 10, 400)}
    assert cross_entropy(logits / found, labels, weights) <= min(grid.values()) + 1e-12
    assert found == pytest.approx(min(grid, key=lambda t: grid[t]), rel=0.01)


def test_a_prior_weighs_the_images_of_each_class() -> None:
    logits, labels = draw(300, sharpness=2.0, seed=5)
    counts = np.bincount(labels, minlength=4)
    weights = np.array([0.25 / counts[y] for y in labels])
    found = fit_temperature(logits, labels, np.ones(4)).temperature
    assert found != pytest.approx(fit_temperature(logits, labels).temperature, rel=1e-3)
    near = [cross_entropy(logits / (found * factor), labels, weights) for factor in (0.99, 1.0, 1.01)]
    assert near[1] < near[0]
    assert near[1] < near[2]


@given(problems())
@settings(max_examples=30)
def test_a_temperature_keeps_the_order_of_the_classes_and_never_hurts(problem: tuple) -> None:
    logits, labels, _ = problem
    scaling = fit_temperature(logits, labels)
    assert (np.argsort(scaling(logits), axis=1, kind="stable") == np.argsort(logits, axis=1, kind="stable")).all()
    weights = np.full(len(labels), 1 / len(labels))
    assert cross_entropy(scaling(logits), labels, weights) <= cross_entropy(logits, labels, weights) + 1e-6


def test_separable_images_give_a_low_temperature_and_no_endless_search() -> None:
    assert 0.01 <= fit_temperature(5 * np.eye(3), np.arange(3)).temperature < 0.2


@pytest.mark.parametrize("penalty", [0.0, 1e-3, 0.1])
def test_vector_scaling_ends_where_the_slope_of_the_printed_objective_is_zero(penalty: float) -> None:
    logits, labels = draw(200, sharpness=2.0, seed=2)
    found = fit_vector_scaling(logits, labels, penalty=penalty)
    weights = np.full(200, 1 / 200)

    def objective(point: np.ndarray) -> float:
        scale, shift = point[:4], point[4:]
        penalised = penalty * (sum((scale - 1) ** 2) + sum(shift**2))
        return cross_entropy(logits * scale + shift, labels, weights) + penalised

    point = np.concatenate([found.scale, found.shift])
    assert np.abs(approx_fprime(point, objective, 1e-7)).max() < 2e-5
    assert objective(point) < objective(np.concatenate([np.ones(4), np.zeros(4)]))


def test_vector_scaling_undoes_a_scale_and_a_shift_of_each_class() -> None:
    logits, labels = draw(20_000)
    bent = (logits - np.array([0.5, -0.5, 0.0, 0.2])) / np.array([2.0, 1.0, 0.5, 1.5])
    before, after = softmax(logits), softmax(fit_vector_scaling(bent, labels, penalty=0)(bent))
    assert np.abs(before - after).mean() < 0.01
    assert np.abs(before - softmax(bent)).mean() > 0.05


def test_a_class_without_held_out_images_stays_near_where_it_was() -> None:
    logits, labels = draw(200)
    found = fit_vector_scaling(logits, np.minimum(labels, 2), penalty=1.0)
    assert abs(found.scale[3] - 1) < 0.2
    assert abs(found.shift[3]) < 0.3


def test_bad_input_is_told() -> None:
    logits, labels = draw(6)
    with pytest.raises(ValueError, match="temperature must be a positive number, got 0"):
        TemperatureScaling(0)
    with pytest.raises(DataError, match=r"6 rows of logits need 6 labels, got shape \[5\]"):
        fit_temperature(logits, labels[:5])
    with pytest.raises(DataError, match="labels must be whole numbers, got float64"):
        fit_temperature(logits, labels.astype(float))
    with pytest.raises(DataError, match="labels must be 0 to 3, got 4 to 4"):
        fit_temperature(logits, np.full(6, 4))
    with pytest.raises(ValueError, match="penalty must be at least 0, got -1"):
        fit_vector_scaling(logits, labels, penalty=-1)
    with pytest.raises(DataError, match="scaled for 3 classes, got logits of 4"):
        VectorScaling(np.ones(3), np.zeros(3))(logits)
    with pytest.raises(DataError, match=r"one number a class each, got \[3\] and \[4\]"):
        VectorScaling(np.ones(3), np.zeros(4))
    with pytest.raises(DataError, match="prior must be positive for every class, got -1 for class 0"):
        fit_temperature(logits, labels, [-1, 1, 1, 1])


def test_a_prior_from_training_counts_equals_the_shares() -> None:
    logits, labels = draw(100)
    left, right = fit_temperature(logits, labels, 20 * PRIOR), fit_temperature(logits, labels, PRIOR)
    assert left.temperature == pytest.approx(right.temperature, rel=1e-9)
