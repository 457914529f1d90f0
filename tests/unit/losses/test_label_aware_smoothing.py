"""Label-aware smoothing: its four forms and where the smoothed part of a label goes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from tailwise.losses import CrossEntropy, LabelAwareSmoothing

FORMS: list[dict[str, Any]] = [
    {"shape": "concave"},
    {"shape": "linear"},
    {"shape": "convex"},
    {"shape": "exponential", "power": 2.0},
]


def smoothing(counts: list[int], **values: Any) -> Tensor:
    return LabelAwareSmoothing(**values).class_terms(torch.tensor(counts, dtype=torch.float64))["smoothing"]


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(8, 3, generator=generator, dtype=torch.float64), torch.tensor([0, 1, 2, 2, 1, 0, 0, 0])


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form["shape"])
@given(counts=st.lists(st.integers(1, 10**5), min_size=2, max_size=12, unique=True))
def test_smoothing_rises_from_the_smallest_to_the_largest_class(form: dict[str, Any], counts: list[int]) -> None:
    values = smoothing(sorted(counts), head=0.4, tail=0.1, **form)
    assert float(values[0]) == pytest.approx(0.1, abs=1e-15)
    assert float(values[-1]) == pytest.approx(0.4, abs=1e-15)
    assert (values.diff() >= 0).all()


def test_concave_lies_above_linear_and_convex_below() -> None:
    counts = [1, 30, 60, 101]
    concave, linear, convex, square = (smoothing(counts, **form)[1:-1] for form in FORMS)
    assert (concave > linear).all()
    assert (linear > convex).all()
    assert_close(linear, torch.tensor([0.1 + 0.3 * 0.29, 0.1 + 0.3 * 0.59], dtype=torch.float64))
    assert_close(square, torch.tensor([0.1 + 0.3 * 0.29**2, 0.1 + 0.3 * 0.59**2], dtype=torch.float64))


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form["shape"])
def test_equal_counts_give_the_smoothing_of_the_tail(form: dict[str, Any]) -> None:
    logits, target = batch()
    expected = CrossEntropy(smoothing=0.1).bind([9, 9, 9])(logits, target)
    assert_close(LabelAwareSmoothing(tail=0.1, **form).bind([9, 9, 9])(logits, target), expected)


def test_equal_head_and_tail_are_ordinary_label_smoothing() -> None:
    logits, target = batch()
    expected = CrossEntropy(smoothing=0.2).bind([50, 7, 200]).per_sample(logits, target)
    assert_close(LabelAwareSmoothing(head=0.2, tail=0.2).bind([50, 7, 200]).per_sample(logits, target), expected)


def test_the_form_of_the_paper_takes_the_smoothing_from_the_label_entirely() -> None:
    # The optimum of the target's own probability: 1 - epsilon in the paper, 1 - epsilon + epsilon / C in the code.
    for spread, own in (("others", 0.7), ("all", 0.8)):
        loss = LabelAwareSmoothing(head=0.3, tail=0.3, spread=spread).bind([50, 7, 200])  # type: ignore[arg-type]
        rest = (1 - own) / 2
        logits = torch.tensor([[own, rest, rest]]).double().log().requires_grad_()
        loss(logits, torch.tensor([0])).backward()
        assert logits.grad is not None
        assert_close(logits.grad, torch.zeros_like(logits.grad), rtol=0, atol=1e-7)
