"""LDAM: its margins, and where the scale of a cosine classifier belongs."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F
from torch.testing import assert_close

from tailwise.core.stats import ClassStats
from tailwise.heads import Cosine
from tailwise.losses import LDAM, ClassBalanced

COUNTS = [50, 7, 200]


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return 2 * torch.rand(8, 3, generator=generator).double() - 1, torch.tensor([0, 1, 2, 2, 1, 0, 0, 0])


@given(counts=st.lists(st.integers(1, 10**6), min_size=2, max_size=12), max_margin=st.floats(0, 5))
def test_the_smallest_class_has_the_largest_margin(counts: list[int], max_margin: float) -> None:
    n = torch.tensor(counts, dtype=torch.float64)
    margin = LDAM(max_margin=max_margin).class_terms(n)["margin"]
    assert float(margin.max()) == max_margin
    assert_close(margin * n**0.25, torch.full_like(n, max_margin * min(counts) ** 0.25))


def test_the_scale_applies_after_the_margin_is_subtracted() -> None:
    cosines, target = batch()
    margin = LDAM().class_terms(torch.tensor(COUNTS, dtype=torch.float64))["margin"]
    lowered = cosines.clone()
    lowered[torch.arange(8), target] -= margin[target]
    assert_close(LDAM().bind(COUNTS)(cosines, target), F.cross_entropy(30 * lowered, target))


def test_no_margin_is_scaled_cross_entropy() -> None:
    cosines, target = batch()
    assert_close(LDAM(max_margin=0.0, scale=7.0).bind(COUNTS)(cosines, target), F.cross_entropy(7 * cosines, target))


@pytest.mark.parametrize("beta", [0.0, 0.9999])
def test_the_scale_may_stand_in_the_head_or_in_the_loss(beta: float) -> None:
    maps, target = torch.randn(8, 5, generator=torch.Generator().manual_seed(1)), batch()[1]
    head = Cosine(scale=1.0).build(5, 3, ClassStats(COUNTS))
    scaled = Cosine(scale=30.0).build(5, 3, ClassStats(COUNTS))
    scaled.load_state_dict(head.state_dict())
    in_loss = LDAM(beta=beta).bind(COUNTS, "weighted_mean")(head(maps)["main"], target)
    in_head = LDAM(scale=1.0, max_margin=15.0, beta=beta).bind(COUNTS, "weighted_mean")(scaled(maps)["main"], target)
    assert_close(in_head, in_loss)
    gradient_in_loss = torch.autograd.grad(in_loss, list(head.parameters()))
    assert_close(torch.autograd.grad(in_head, list(scaled.parameters())), gradient_in_loss, rtol=1e-5, atol=1e-6)


def test_beta_multiplies_by_the_class_balanced_weights() -> None:
    cosines, target = batch()
    weight = ClassBalanced(beta=0.99).class_weight(torch.tensor(COUNTS, dtype=torch.float64))
    plain = LDAM()
    expected = weight[target] * plain.bind(COUNTS).per_sample(cosines, target)
    loss = dataclasses.replace(plain, beta=0.99)
    assert_close(loss.bind(COUNTS).per_sample(cosines, target), expected)
    assert_close(loss.bind(COUNTS, "weighted_mean")(cosines, target), expected.sum() / weight[target].sum())


def test_without_beta_both_means_agree() -> None:
    cosines, target = batch()
    assert_close(LDAM().bind(COUNTS, "mean")(cosines, target), LDAM().bind(COUNTS, "weighted_mean")(cosines, target))
