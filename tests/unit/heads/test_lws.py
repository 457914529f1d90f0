"""The scaled head with factors of one is a linear head, bit for bit."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tailwise.heads import LWS, Linear

MAPS = torch.randn(6, 5, 3, 3, generator=torch.Generator().manual_seed(0))
TARGET = torch.tensor([0, 1, 2, 2, 1, 0])


def build(head: Any) -> Any:
    torch.manual_seed(3)
    return head.build(5, 3)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("scale_bias", [True, False])
def test_factors_of_one_give_the_linear_head_and_its_gradients(bias: bool, scale_bias: bool) -> None:
    plain, scaled = build(Linear(bias=bias)), build(LWS(bias=bias, scale_bias=scale_bias))
    assert torch.equal(scaled.fc.weight, plain.fc.weight)
    for module in (plain, scaled):
        torch.nn.functional.cross_entropy(module(MAPS)["main"], TARGET).backward()
    assert torch.equal(scaled(MAPS)["main"], plain(MAPS)["main"])
    assert torch.equal(scaled.fc.weight.grad, plain.fc.weight.grad)
    assert not bias or torch.equal(scaled.fc.bias.grad, plain.fc.bias.grad)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(scaled(MAPS)["main"], plain(MAPS)["main"])


def test_scale_bias_says_whether_the_bias_is_scaled() -> None:
    both, weight_only = build(LWS()), build(LWS(scale_bias=False))
    for module in (both, weight_only):
        with torch.no_grad():
            module.scale.fill_(2.0)
    plain = build(Linear())
    torch.testing.assert_close(both(MAPS)["main"], 2 * plain(MAPS)["main"])
    torch.testing.assert_close(weight_only(MAPS)["main"], 2 * plain(MAPS)["main"] - plain.fc.bias)


def test_heads_with_and_without_a_bias_are_computed_together() -> None:
    heads = [build(LWS()), build(LWS(bias=False))]
    maps = MAPS[:, None].repeat(1, 2, 1, 1, 1)
    logits = type(heads[0]).forward_stacked(heads, maps)["main"]
    torch.testing.assert_close(logits, torch.stack([head(MAPS)["main"] for head in heads], dim=1))
