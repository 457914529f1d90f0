"""The linear and the cosine head against numpy, and their initialisation."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
import torch

from tailwise.core.errors import TailwiseError
from tailwise.core.registry import REGISTRY
from tailwise.core.spec import to_plain
from tailwise.heads import Cosine, HeadModule, Linear


def maps() -> torch.Tensor:
    return torch.randn(4, 6, 2, 3, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("bias", [True, False])
def test_linear_head_is_average_pooling_and_a_matrix(bias: bool) -> None:
    module = Linear(bias=bias).build(6, 5)
    weight = module.classifier_weight.detach().numpy()
    expected = maps().numpy().mean((2, 3)) @ weight.T + (module.fc.bias.detach().numpy() if bias else 0)
    np.testing.assert_allclose(module(maps())["main"].detach().numpy(), expected, rtol=1e-4, atol=1e-6)
    assert (module.fc.bias is not None) == bias


def test_linear_head_starts_as_torch_does() -> None:
    torch.manual_seed(0)
    module = Linear().build(64, 1000)
    torch.manual_seed(0)
    plain = torch.nn.Linear(64, 1000)
    assert torch.equal(module.fc.weight, plain.weight)
    assert torch.equal(module.fc.bias, plain.bias)
    # Uniform in +- 1 / sqrt(64).
    assert 0.124 < float(module.fc.weight.abs().max().detach()) <= 0.125


@pytest.mark.parametrize(("prior", "expected"), [("uniform", -math.log(9)), (0.01, -math.log(99))])
def test_a_bias_prior_makes_every_class_begin_with_that_probability(prior: object, expected: float) -> None:
    head = REGISTRY.make("heads", "linear", bias_prior=prior)
    module = head.build(64, 10)
    np.testing.assert_allclose(module.fc.bias.detach().numpy(), np.full(10, expected), rtol=1e-6)
    begin = module(torch.zeros(1, 64))["main"].sigmoid().detach().numpy()
    np.testing.assert_allclose(begin, np.full((1, 10), 0.1 if prior == "uniform" else prior), rtol=1e-5)


def test_a_bias_prior_leaves_the_weight_and_old_hashes_as_they_are() -> None:
    torch.manual_seed(0)
    plain = Linear().build(8, 4)
    torch.manual_seed(0)
    started = Linear(bias_prior=0.1).build(8, 4)
    assert torch.equal(plain.fc.weight, started.fc.weight)
    assert "bias_prior" not in to_plain(Linear(), hashed_only=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bias_prior": 1.0}, "bias_prior must be above 0 and below 1, or 'uniform', got 1.0"),
        ({"bias_prior": 0.0}, "bias_prior must be above 0 and below 1, or 'uniform', got 0.0"),
        ({"bias_prior": 0.1, "bias": False}, "bias_prior needs a bias, got bias_prior=0.1 with bias=False"),
    ],
)
def test_a_bias_prior_out_of_range_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        Linear(**changes)


def test_cosine_head_is_the_scaled_cosine() -> None:
    module = Cosine(scale=16.0).build(6, 5)
    with torch.no_grad():
        module.weight.mul_(7.0)  # The length of a class vector does not matter.
    weight, features = module.weight.detach().numpy(), maps().numpy().mean((2, 3))
    for row, logits in zip(features, module(maps())["main"].detach().numpy(), strict=True):
        cosines = [row @ one / math.sqrt((row @ row) * (one @ one)) for one in weight]
        np.testing.assert_allclose(logits, 16 * np.array(cosines), rtol=1e-4, atol=1e-5)


def test_cosine_class_vectors_start_and_stay_of_unit_length() -> None:
    module = Cosine().build(32, 50)
    np.testing.assert_allclose(module.weight.detach().norm(dim=1), np.ones(50), rtol=1e-6)
    with torch.no_grad():
        module.weight.mul_(3.0)
    np.testing.assert_allclose(module.classifier_weight.detach().norm(dim=1), np.ones(50), rtol=1e-6)
    assert [name for name, _ in module.named_parameters()] == ["weight"]


def test_cosine_head_survives_features_of_zero() -> None:
    module = Cosine().build(6, 5)
    features = torch.zeros(2, 6, requires_grad=True)
    logits = module(features)["main"]
    logits.sum().backward()
    assert torch.equal(logits, torch.zeros(2, 5))
    assert features.grad is not None
    assert features.grad.isfinite().all()


@pytest.mark.parametrize("scale", [0.0, -1.0, float("inf"), float("nan")])
def test_wrong_scale_is_refused(scale: float) -> None:
    with pytest.raises(TailwiseError, match="head 'cosine': scale must be a positive number"):
        REGISTRY.make("heads", "cosine", scale=scale)


def test_pooling_takes_maps_or_pooled_features_only() -> None:
    features = torch.randn(4, 6)
    assert HeadModule.pool(features) is features
    np.testing.assert_allclose(HeadModule.pool(maps()), maps().numpy().mean((2, 3)), rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match=r"got shape \[4, 6, 6\]"):
        HeadModule.pool(torch.zeros(4, 6, 6))
