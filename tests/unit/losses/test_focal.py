"""Sigmoid focal loss: its limits, and its gradient where a power would have none."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.testing import assert_close

from tailwise.losses import Focal

COUNTS = [50, 7, 200]


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return 3 * torch.randn(8, 3, generator=generator, dtype=torch.float64), torch.tensor([0, 1, 2, 2, 1, 0, 0, 0])


def test_gamma_zero_is_the_sum_of_binary_cross_entropies_over_the_batch_size() -> None:
    logits, target = batch()
    binary = F.binary_cross_entropy_with_logits(logits, F.one_hot(target, 3).double(), reduction="sum") / 8
    assert_close(Focal(gamma=0.0).bind(COUNTS)(logits, target), binary)


def test_alpha_one_half_is_half_the_loss() -> None:
    logits, target = batch()
    assert_close(2 * Focal(alpha=0.5).bind(COUNTS)(logits, target), Focal().bind(COUNTS)(logits, target))


def test_alpha_one_counts_the_label_only() -> None:
    logits, target = batch()
    expected = F.softplus(-logits[0, 0]) * torch.sigmoid(-logits[0, 0]) ** 2
    assert_close(Focal(alpha=1.0).bind(COUNTS).per_sample(logits, target)[0], expected)


@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0, 2.0, 5.0])
def test_gradients_are_finite_for_certain_predictions(gamma: float) -> None:
    logits = torch.tensor([[200.0, -200.0, -1e4], [-200.0, 200.0, 1e4]], requires_grad=True)
    losses = Focal(gamma=gamma).bind(COUNTS).per_sample(logits, torch.tensor([0, 0]))
    losses.sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert_close(losses.detach(), torch.tensor([0.0, 10_400.0]))


def test_larger_gamma_weighs_easy_samples_down_more() -> None:
    logits, target = torch.tensor([[2.0, -2.0, -2.0]]), torch.tensor([0])
    values = [float(Focal(gamma=gamma).bind(COUNTS)(logits, target).detach()) for gamma in (0.0, 0.5, 1.0, 2.0, 4.0)]
    assert values == sorted(values, reverse=True)
    assert values[-1] < 1e-3 * values[0]
