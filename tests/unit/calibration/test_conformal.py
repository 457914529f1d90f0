"""Prediction sets: the promised coverage holds, exactly where theory says so."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailwise.calibration import fit_conformal, softmax
from tailwise.core.errors import DataError, UnknownName
from tests.unit.calibration.cases import PRIOR, draw, problems

METHODS = ("split", "class_conditional", "prevalence_adjusted")


def covered(sets: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return sets[np.arange(labels.size), labels]


def slow_threshold(scores: list[float], alpha: float) -> float:
    """The smallest score t with at least (n + 1)(1 - alpha) of the n scores at or below it."""
    for t in sorted(scores):
        if sum(score <= t for score in scores) + 1e-9 >= (len(scores) + 1) * (1 - alpha):
            return t
    return float("inf")


@given(problems(), st.sampled_from([0.05, 0.1, 0.25, 0.5, 0.9]))
def test_thresholds_equal_a_slow_search(problem: tuple, alpha: float) -> None:
    logits, labels, prior = problem
    p, prior = softmax(logits), prior / prior.sum()
    num_classes = prior.size
    marginal = slow_threshold([-row[y] for row, y in zip(p, labels, strict=True)], alpha)
    assert fit_conformal(p, labels, miscoverage=alpha).thresholds == pytest.approx([marginal] * num_classes)
    adjusted = slow_threshold([-row[y] / prior[y] for row, y in zip(p, labels, strict=True)], alpha)
    found = fit_conformal(p, labels, method="prevalence_adjusted", miscoverage=alpha, source_prior=prior)
    assert found.thresholds == pytest.approx([adjusted] * num_classes)
    for label, value in enumerate(fit_conformal(p, labels, method="class_conditional", miscoverage=alpha).thresholds):
        own = [-row[y] for row, y in zip(p, labels, strict=True) if y == label]
        assert value == pytest.approx(slow_threshold(own, alpha))


@given(problems(), st.sampled_from(METHODS))
def test_a_smaller_miscoverage_only_adds_classes(problem: tuple, method: str) -> None:
    logits, labels, prior = problem
    p = softmax(logits)
    sets = [
        fit_conformal(p, labels, method=method, miscoverage=alpha, source_prior=prior)(p)  # type: ignore[arg-type]
        for alpha in (0.4, 0.2, 0.05)
    ]
    assert (sets[0] <= sets[1]).all()
    assert (sets[1] <= sets[2]).all()


@given(problems(), st.sampled_from(METHODS))
def test_sets_do_not_depend_on_how_classes_are_numbered(problem: tuple, method: str) -> None:
    logits, labels, prior = problem
    p = softmax(logits)
    order = np.random.default_rng(0).permutation(prior.size)
    place = np.argsort(order)
    plain = fit_conformal(p, labels, method=method, miscoverage=0.2, source_prior=prior)(p)  # type: ignore[arg-type]
    other = fit_conformal(  # type: ignore[call-overload]
        p[:, order], place[labels], method=method, miscoverage=0.2, source_prior=prior[order]
    )(p[:, order])
    assert (plain[:, order] == other).all()


@pytest.mark.parametrize("method", METHODS)
def test_coverage_over_many_calibrations_is_what_was_promised(method: str) -> None:
    """Mean over 200 draws of 99 images; the promise for continuous scores is from 0.9 to 0.9 + 1 / 100."""
    rates = []
    for seed in range(200):
        logits, labels = draw(199, seed=seed)
        p = softmax(logits)
        sets = fit_conformal(  # type: ignore[call-overload]
            p[:99], labels[:99], method=method, miscoverage=0.1, source_prior=PRIOR
        )
        rates.append(covered(sets(p[99:]), labels[99:]).mean())
    assert np.mean(rates) > 0.9 - 3 * np.std(rates) / 200**0.5
    if method != "class_conditional":
        assert np.mean(rates) < 0.91 + 3 * np.std(rates) / 200**0.5


def test_every_class_is_covered_by_the_class_conditional_sets_and_rare_ones_are_not_by_split() -> None:
    logits, labels = draw(20_000, seed=1)
    p = softmax(logits)
    half = slice(0, 10_000), slice(10_000, None)

    def coverage(method: str) -> tuple[np.ndarray, float]:
        sets = fit_conformal(p[half[0]], labels[half[0]], method=method, source_prior=PRIOR)(p[half[1]])  # type: ignore[arg-type]
        hit = covered(sets, labels[half[1]])
        return np.array([hit[labels[half[1]] == label].mean() for label in range(4)]), sets.sum(axis=1).mean()

    by_class, by_class_size = coverage("class_conditional")
    split, split_size = coverage("split")
    adjusted, adjusted_size = coverage("prevalence_adjusted")
    assert by_class.min() > 0.87
    assert split.min() < 0.75
    # The compromise: between both in coverage of the rarest class; the best mean over classes for marginal coverage.
    assert split.min() < adjusted[-1]
    assert adjusted.mean() > split.mean()
    assert split_size < by_class_size
    assert split_size <= adjusted_size


def test_a_class_with_too_few_images_is_in_every_set() -> None:
    p = softmax(draw(50)[0])
    labels = np.r_[np.zeros(42, int), np.full(8, 1)]  # 8 images: 9 * 0.9 = 8.1, so none is enough
    sets = fit_conformal(p, labels, method="class_conditional", miscoverage=0.1)
    assert np.isinf(sets.thresholds).tolist() == [False, True, True, True]
    assert sets(p)[:, 1:].all()


def test_a_rank_that_is_whole_is_not_rounded_up() -> None:
    p = np.array([[value, 1 - value] for value in np.linspace(0.1, 0.9, 9)])
    # (9 + 1) * 0.9 = 9, the largest of nine scores -p: that of the smallest p.
    assert fit_conformal(p, np.zeros(9, int), miscoverage=0.1).thresholds[0] == pytest.approx(-0.1)


def test_bad_input_is_told() -> None:
    logits, labels = draw(20)
    p = softmax(logits)
    with pytest.raises(UnknownName, match="unknown conformal method 'mondrian'; allowed: class_conditional, prev"):
        fit_conformal(p, labels, method="mondrian")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="miscoverage must be above 0 and below 1, got 1"):
        fit_conformal(p, labels, miscoverage=1)
    with pytest.raises(DataError, match="prevalence_adjusted needs source_prior"):
        fit_conformal(p, labels, method="prevalence_adjusted")
    with pytest.raises(DataError, match="calibrated for 4 classes, got probabilities of 2"):
        fit_conformal(p, labels)(np.array([[0.5, 0.5]]))
