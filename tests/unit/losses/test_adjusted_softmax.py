"""Losses that change the softmax by the counts: logit adjustment, CDT, SEQL."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from tailwise.core.stats import ClassStats
from tailwise.losses import CDT, SEQL, BalancedSoftmax, CrossEntropy, LogitAdjustment, Loss

#: The last two classes have less than a twentieth of the images.
COUNTS = [500, 300, 9, 3]


def batch(size: int = 12) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return 2 * torch.randn(size, 4, generator=generator, dtype=torch.float64), torch.arange(size) % 4


def value(loss: Loss, logits: Tensor, target: Tensor) -> Tensor:
    return loss.bind(COUNTS).double().per_sample(logits, target)


def test_tau_one_is_balanced_softmax() -> None:
    assert_close(value(LogitAdjustment(), *batch()), value(BalancedSoftmax(), *batch()))


@pytest.mark.parametrize("loss", [LogitAdjustment(tau=0.0), CDT(gamma=0.0), SEQL(gamma=0.0), SEQL(threshold=0.0)])
def test_the_neutral_value_is_cross_entropy(loss: Loss) -> None:
    assert_close(value(loss, *batch()), value(CrossEntropy(), *batch()))


def test_a_network_that_knows_the_balanced_posterior_is_already_adjusted() -> None:
    # The loss of logits z with tau equals cross-entropy of z + tau log prior: what the network would have to learn.
    logits, target = batch()
    shifted = logits + 2.5 * torch.from_numpy(np.log(ClassStats(COUNTS).prior))
    assert_close(value(LogitAdjustment(tau=2.5), logits, target), value(CrossEntropy(), shifted, target))


def test_temperatures_are_one_for_the_largest_class_and_grow_as_classes_shrink() -> None:
    temperature = CDT(gamma=0.5).class_terms(torch.tensor(COUNTS, dtype=torch.float64))["temperature"]
    assert temperature[0] == 1
    assert (temperature.diff() > 0).all()
    assert float(temperature[3]) == pytest.approx(math.sqrt(500 / 3))


def test_images_of_other_classes_push_a_rare_class_down_less() -> None:
    logits, target = torch.zeros(1, 4, requires_grad=True), torch.tensor([0])
    gradients = {
        gamma: torch.autograd.grad(SEQL(gamma=gamma, threshold=0.05).bind(COUNTS)(logits, target), logits)[0][0]
        for gamma in (0.0, 0.9, 1.0)
    }
    assert_close(gradients[0.0], torch.tensor([-0.75, 0.25, 0.25, 0.25]))
    assert_close(gradients[0.9], torch.tensor([1 / 2.2 - 1, 1 / 2.2, 0.1 / 2.2, 0.1 / 2.2]))
    assert_close(gradients[1.0], torch.tensor([-0.5, 0.5, 0.0, 0.0]))


def test_an_image_of_a_rare_class_keeps_its_own_logit() -> None:
    logits, target = torch.zeros(1, 4), torch.tensor([3])
    # Two frequent classes, the class itself, and a tenth of the other rare class.
    assert_close(SEQL(threshold=0.05).bind(COUNTS)(logits, target), torch.tensor(3.1).log())


def test_a_class_exactly_at_the_threshold_is_not_rare() -> None:
    rare = SEQL(threshold=0.25).class_terms(torch.tensor([6.0, 2.0, 0.5], dtype=torch.float64))["rare"]
    assert rare.tolist() == [0.0, 1.0, 1.0]
    assert SEQL(threshold=0.25).class_terms(torch.tensor([3.0, 1.0]).double())["rare"].tolist() == [0.0, 0.0]


def test_drawn_and_expected_masks_agree_in_the_mean_of_the_exponential() -> None:
    logits, target = torch.tensor([[0.0, 1.0, 2.0, -1.0]]).double().repeat(20_000, 1), torch.zeros(20_000).long()
    torch.manual_seed(0)
    drawn = value(SEQL(gamma=0.6, threshold=0.05, mask="drawn"), logits, target).exp()
    expected = value(SEQL(gamma=0.6, threshold=0.05), logits[:1], target[:1]).exp()
    error = float(drawn.std()) / math.sqrt(len(drawn))
    assert error > 0
    assert abs(float(drawn.mean()) - float(expected)) < 4 * error
    # Two rare classes, each in or out: four values.
    assert len(drawn.unique()) == 4


def test_drawn_masks_differ_from_call_to_call_and_follow_the_seed() -> None:
    logits, target = batch(64)
    loss = SEQL(gamma=0.5, threshold=0.05, mask="drawn")
    torch.manual_seed(1)
    first, second = value(loss, logits, target), value(loss, logits, target)
    torch.manual_seed(1)
    assert torch.equal(value(loss, logits, target), first)
    assert not torch.equal(first, second)


def test_expected_masks_draw_nothing() -> None:
    before = torch.get_rng_state()
    value(SEQL(threshold=0.05), *batch())
    assert torch.equal(torch.get_rng_state(), before)


def test_drawn_masks_have_finite_gradients() -> None:
    logits, target = batch(64)
    logits.requires_grad_()
    value(SEQL(gamma=0.5, threshold=0.05, mask="drawn"), logits, target).sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert_close(logits.grad.sum(1), torch.zeros(64, dtype=torch.float64))
