"""Influence-balanced loss: the influence is a gradient's norm, and the features reach it through the objective."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.testing import assert_close

from tailwise.core.stats import ClassStats
from tailwise.core.types import MixedTarget
from tailwise.losses import CrossEntropy, InfluenceBalanced
from tailwise.losses.base import Reduction
from tailwise.objectives import Classification

COUNTS = [50, 7, 200]
LOSS = InfluenceBalanced(alpha=2.0, epsilon=1e-9)


def batch() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(8, 3, generator=generator, dtype=torch.float64)
    return logits, torch.tensor([0, 1, 2, 2, 1, 0, 0, 0]), torch.randn(8, 5, generator=generator, dtype=torch.float64)


def test_the_influence_is_the_norm_of_the_gradient_on_the_classifier() -> None:
    _, target, features = batch()
    weight = torch.randn(3, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64, requires_grad=True)
    class_weight = 3 / (1 / torch.tensor(COUNTS).double()).sum() / torch.tensor(COUNTS)
    values = LOSS.bind(COUNTS).double().per_sample(features @ weight.T, target, features)
    for row in range(8):
        loss = F.cross_entropy(features[row : row + 1] @ weight.T, target[row : row + 1])
        (gradient,) = torch.autograd.grad(loss, weight)
        assert_close(values[row], class_weight[target[row]] * 2.0 * loss / gradient.abs().sum(), rtol=1e-6, atol=0)


def test_larger_features_weigh_less_and_signs_do_not_matter() -> None:
    logits, target, features = batch()
    bound = LOSS.bind(COUNTS).double()
    plain = bound.per_sample(logits, target, features)
    assert_close(bound.per_sample(logits, target, -2 * features), plain / 2, rtol=1e-6, atol=0)


def test_the_gradient_reaches_the_features_too() -> None:
    logits, target, features = batch()
    features.requires_grad_()
    value = LOSS.bind(COUNTS)(logits, target, features)
    (gradient,) = torch.autograd.grad(value, features)
    # Growing features make the loss smaller: its gradient points against them.
    assert ((gradient * features.detach().sign()) < 0).all()


def test_certain_samples_and_zero_features_stay_finite() -> None:
    logits = torch.tensor([[1e4, 0.0, 0.0], [0.0, 1e4, 0.0]], requires_grad=True)
    features = torch.zeros(2, 4, requires_grad=True)
    value = InfluenceBalanced().bind(COUNTS)(logits, torch.tensor([0, 0]), features)
    gradients = torch.autograd.grad(value, (logits, features))
    assert value.isfinite()
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_half_precision_features_are_raised() -> None:
    logits, target, features = batch()
    bound = LOSS.bind(COUNTS)
    value = bound(logits.half(), target, features.half())
    assert value.dtype == torch.float32
    assert_close(value, bound(logits.half().float(), target, features.half().float()))


def test_losses_without_need_of_features_ignore_them() -> None:
    logits, target, features = batch()
    bound = CrossEntropy().bind(COUNTS)
    assert not CrossEntropy.needs_features
    assert torch.equal(bound(logits, target, features), bound(logits, target))


@pytest.mark.parametrize("reduction", ["mean", "weighted_mean"])
def test_the_objective_hands_the_rows_of_its_stream_over(reduction: Reduction) -> None:
    logits, target, features = batch()
    bound = Classification(loss=LOSS, stream="second", reduction=reduction).bind(ClassStats(COUNTS))  # type: ignore[arg-type]
    assert bound.needs_features
    assert not Classification().bind(ClassStats(COUNTS)).needs_features
    outputs = {"main": logits, "features": features}
    (part,) = bound(outputs, {"second": target[3:]}, {"main": (0, 3), "second": (3, 8)}).values()
    expected = LOSS.bind(COUNTS, reduction)(logits[3:], target[3:], features[3:])
    assert_close(part.numerator / part.denominator, expected)


def test_a_mixed_target_uses_the_features_for_both_labels() -> None:
    logits, target, features = batch()
    lam, second = torch.linspace(0, 1, 8).double(), target.flip(0)
    bound = Classification(loss=LOSS).bind(ClassStats(COUNTS))
    outputs = {"main": logits, "features": features}
    (part,) = bound(outputs, {"main": MixedTarget(target, second, lam)}, {"main": (0, 8)}).values()
    alone = LOSS.bind(COUNTS, "none")
    expected = lam * alone(logits, target, features) + (1 - lam) * alone(logits, second, features)
    assert_close(part.numerator / part.denominator, expected.mean())


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (None, "influence_balanced needs the pooled features [B, D]: call it with features=..."),
        (torch.ones(4, 3), "features must be floating point of shape [8, D], got torch.float32 [4, 3]"),
        (torch.ones(8, 3).long(), "features must be floating point of shape [8, D], got torch.int64 [8, 3]"),
        (torch.ones(8, 3, 1, 1), "features must be floating point of shape [8, D], got torch.float32 [8, 3, 1, 1]"),
    ],
)
def test_missing_and_ill_shaped_features_are_named(features: Tensor | None, message: str) -> None:
    logits, target, _ = batch()
    bound = LOSS.bind(COUNTS)
    for call in (bound, bound.per_sample, LOSS.bind(COUNTS, "none")):
        with pytest.raises(ValueError, match=r"needs|must be") as caught:
            call(logits, target, features)
        assert str(caught.value) == message
