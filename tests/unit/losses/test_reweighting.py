"""Losses with class weights: what the weights are, which reduction undoes their scale, what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F
from torch.testing import assert_close

from tailwise.core.errors import TailwiseError
from tailwise.core.registry import REGISTRY
from tailwise.core.stats import ClassStats
from tailwise.losses import (
    LDAM,
    ClassBalanced,
    ClassBalancedFocal,
    CostSensitive,
    CostSensitiveFocal,
    Focal,
    Loss,
)
from tailwise.losses.class_weights import effective_number, inverse_frequency, sum_to_classes

COUNTS = [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
some_counts = st.lists(st.integers(1, 100_000), min_size=2, max_size=12)


def exact(counts: list[int]) -> Tensor:
    return torch.tensor(counts, dtype=torch.float64)


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(40, 10, generator=generator, dtype=torch.float64), torch.arange(40) % 10


@given(counts=some_counts, beta=st.floats(0, 0.999999))
def test_effective_number_weights_lie_between_one_over_n_and_one(counts: list[int], beta: float) -> None:
    weight, n = effective_number(exact(counts), beta), exact(counts)
    assert (weight <= 1 + 1e-12).all()
    assert (weight * n >= 1 - 1e-9).all()
    order = n.argsort()
    assert (weight[order].diff() <= 1e-15).all()


@given(counts=some_counts)
def test_effective_number_weights_are_ones_at_zero_and_inverse_frequencies_near_one(counts: list[int]) -> None:
    assert torch.equal(effective_number(exact(counts), 0.0), torch.ones(len(counts), dtype=torch.float64))
    # 1 - beta = 1e-13: the literal formula has lost most digits here (1 - beta^n is 1e-13 for one image).
    assert_close(effective_number(exact(counts), 1 - 1e-13), 1 / exact(counts), rtol=1e-7, atol=0)


@given(counts=some_counts, gamma=st.floats(0, 3))
def test_inverse_frequency_weighs_the_smallest_class_one(counts: list[int], gamma: float) -> None:
    weight = inverse_frequency(exact(counts), gamma)
    assert weight[int(np.argmin(counts))] == 1
    assert (weight <= 1).all()


@given(counts=some_counts, beta=st.floats(0, 0.999999))
def test_normalized_weights_sum_to_the_number_of_classes(counts: list[int], beta: float) -> None:
    weight = ClassBalanced(beta=beta).class_weight(exact(counts))
    assert float(weight.sum()) == pytest.approx(len(counts), rel=1e-12)
    assert_close(weight, sum_to_classes(ClassBalanced(beta=beta, normalize=False).class_weight(exact(counts))))


@pytest.mark.parametrize("loss", [CostSensitive(), CostSensitive(gamma=0.5), ClassBalanced(), ClassBalanced(beta=0.9)])
def test_weighted_mean_is_the_class_weighted_cross_entropy_of_torch(loss: Any) -> None:
    logits, target = batch()
    weight = loss.class_weight(exact(COUNTS))
    assert_close(loss.bind(COUNTS, "weighted_mean")(logits, target), F.cross_entropy(logits, target, weight=weight))


def test_weighted_mean_does_not_see_the_normalization_and_mean_does() -> None:
    logits, target = batch()
    scaled, printed = ClassBalanced(), ClassBalanced(normalize=False)
    assert_close(
        scaled.bind(COUNTS, "weighted_mean")(logits, target), printed.bind(COUNTS, "weighted_mean")(logits, target)
    )
    ratio = scaled.bind(COUNTS, "mean")(logits, target) / printed.bind(COUNTS, "mean")(logits, target)
    assert float(ratio) == pytest.approx(10 / float(effective_number(exact(COUNTS), 0.9999).sum()), rel=1e-9)


def test_the_printed_cost_sensitive_loss_has_a_mean_weight_of_four_percent() -> None:
    # Why the two reductions are different learning rates: C n_min / N, the mean weight of an image.
    stats = ClassStats(COUNTS)
    weight = CostSensitive().class_weight(exact(COUNTS)).numpy()
    assert float(weight @ stats.prior) == pytest.approx(10 * 50 / 12406)


@pytest.mark.parametrize(
    ("loss", "plain"),
    [
        (ClassBalancedFocal(gamma=1.0, alpha=0.3), Focal(gamma=1.0, alpha=0.3)),
        (CostSensitiveFocal(gamma=1.0, alpha=0.3), Focal(gamma=1.0, alpha=0.3)),
    ],
)
def test_focal_losses_are_weighted_once_for_all_their_binary_terms(loss: Any, plain: Loss) -> None:
    logits, target = batch()
    weight = loss.class_weight(exact(COUNTS))[target]
    expected = weight * plain.bind(COUNTS).per_sample(logits, target)
    assert_close(loss.bind(COUNTS).per_sample(logits, target), expected)
    assert_close(loss.bind(COUNTS)(logits, target), expected.sum() / 40)
    assert_close(loss.bind(COUNTS, "weighted_mean")(logits, target), expected.sum() / weight.sum())


def test_a_zero_exponent_or_beta_leaves_focal_loss_unweighted() -> None:
    logits, target = batch()
    expected = Focal().bind(COUNTS).per_sample(logits, target)
    for loss in (CostSensitiveFocal(exponent=0.0), ClassBalancedFocal(beta=0.0)):
        assert_close(loss.bind(COUNTS).per_sample(logits, target), expected)


@pytest.mark.parametrize(
    "loss", [CostSensitive(), ClassBalanced(), ClassBalancedFocal(), CostSensitiveFocal(), LDAM(beta=0.9999)]
)
def test_weighted_mean_of_equal_losses_is_that_loss(loss: Loss) -> None:
    # One class only in the batch, so the weight cancels.
    logits, target = torch.zeros(5, 10), torch.full((5,), 8)
    values = loss.bind(COUNTS, "none")(logits, target) / loss.sample_weight(
        target, **{name: term.float() for name, term in loss.class_terms(exact(COUNTS)).items()}
    )
    assert_close(loss.bind(COUNTS, "weighted_mean")(logits, target), values[0])


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("class_balanced", {"beta": 1.0}, "beta must be at least 0 and below 1, got 1.0"),
        ("class_balanced", {"beta": -0.1}, "beta must be at least 0 and below 1, got -0.1"),
        ("class_balanced_focal", {"beta": float("nan")}, "beta must be at least 0 and below 1, got nan"),
        ("ldam", {"beta": 1.5}, "beta must be at least 0 and below 1, got 1.5"),
        ("cost_sensitive", {"gamma": -1.0}, "gamma must be at least 0, got -1.0"),
        ("cost_sensitive", {"gamma": float("inf")}, "gamma must be a finite number, got inf"),
        ("cost_sensitive_focal", {"exponent": -1.0}, "exponent must be at least 0, got -1.0"),
        ("cost_sensitive_focal", {"gamma": -2.0}, "gamma must be at least 0, got -2.0"),
        ("focal", {"gamma": -2.0}, "gamma must be at least 0, got -2.0"),
        ("focal", {"alpha": 1.1}, "alpha must be from 0 to 1, got 1.1"),
        ("class_balanced_focal", {"alpha": -0.1}, "alpha must be from 0 to 1, got -0.1"),
        ("ldam", {"max_margin": -0.5}, "max_margin must be at least 0, got -0.5"),
        ("ldam", {"max_margin": float("inf")}, "max_margin must be a finite number, got inf"),
        ("ldam", {"scale": 0.0}, "scale must be a positive number, got 0.0"),
        ("logit_adjustment", {"tau": float("inf")}, "tau must be a finite number, got inf"),
        ("logit_adjustment", {"tau": float("nan")}, "tau must be a finite number, got nan"),
        ("cdt", {"gamma": -0.2}, "gamma must be at least 0, got -0.2"),
        ("cdt", {"gamma": float("inf")}, "gamma must be a finite number, got inf"),
        ("seql", {"gamma": 1.1}, "gamma must be from 0 to 1, got 1.1"),
        ("seql", {"threshold": -0.1}, "threshold must be from 0 to 1, got -0.1"),
        ("seql", {"mask": "random"}, "mask must be one of expected, drawn, got 'random'"),
        ("influence_balanced", {"alpha": 0.0}, "alpha must be a positive number, got 0.0"),
        ("influence_balanced", {"epsilon": -1.0}, "epsilon must be a positive number, got -1.0"),
        ("label_aware_smoothing", {"head": 1.0}, "head must be at least 0 and below 1, got 1.0"),
        ("label_aware_smoothing", {"tail": -0.1}, "tail must be at least 0 and below 1, got -0.1"),
        (
            "label_aware_smoothing",
            {"shape": "round"},
            "shape must be one of concave, linear, convex, exponential, got 'round'",
        ),
        ("label_aware_smoothing", {"spread": "none"}, "spread must be one of all, others, got 'none'"),
        (
            "label_aware_smoothing",
            {"shape": "exponential"},
            "power must be given for shape 'exponential' only, got None for 'exponential'",
        ),
        (
            "label_aware_smoothing",
            {"power": 2.0},
            "power must be given for shape 'exponential' only, got 2.0 for 'concave'",
        ),
        (
            "label_aware_smoothing",
            {"shape": "exponential", "power": 0.0},
            "power must be a positive number, got 0.0",
        ),
    ],
)
def test_hyper_parameters_out_of_range_are_refused(name: str, values: dict[str, Any], message: str) -> None:
    with pytest.raises(TailwiseError) as caught:
        REGISTRY.make("losses", name, **values)
    assert str(caught.value) == f"loss {name!r}: {message}"
    with pytest.raises(ValueError, match=r"must be") as direct:
        REGISTRY.find("losses", name).target(**values)
    assert str(direct.value) == message


@pytest.mark.parametrize("name", REGISTRY.names("losses"))
def test_every_loss_refuses_a_class_without_images_when_it_is_bound(name: str) -> None:
    with pytest.raises(TailwiseError) as caught:
        REGISTRY.make("losses", name).bind([40, 0, 3])
    assert str(caught.value) == "1 of 3 classes have no images (labels [1])"
