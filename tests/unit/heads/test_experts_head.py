"""The head of several experts: shares, names, mean, classifier, messages."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from tailwise.core.errors import TailwiseError
from tailwise.core.stats import ClassStats
from tailwise.engine.recipe import Backbone
from tailwise.engine.task import Task
from tailwise.heads import Cosine, Experts, Linear, ResLT
from tailwise.posthoc.tau_norm import TauNorm
from tests.helpers import tiny_recipe

STATS = ClassStats([50, 20, 10, 4])


def maps() -> torch.Tensor:
    return torch.randn(4, 6, 2, 3, generator=torch.Generator().manual_seed(0))


def test_logits_are_each_expert_s_and_their_mean() -> None:
    module = Experts(num_experts=3).build(6, 4)
    outputs = {name: value.detach().numpy() for name, value in module(maps()).items()}
    pooled = maps().numpy().mean((2, 3))
    expected = [
        pooled[:, 2 * number : 2 * number + 2] @ head.fc.weight.detach().numpy().T + head.fc.bias.detach().numpy()
        for number, head in enumerate(module.inner)
    ]
    assert tuple(outputs) == module.names == ("main", "expert0", "expert1", "expert2")
    assert module.branches == ("expert0", "expert1", "expert2")
    for number, logits in enumerate(expected):
        np.testing.assert_allclose(outputs[f"expert{number}"], logits, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(outputs["main"], np.mean(expected, axis=0), rtol=1e-5, atol=1e-6)


def test_the_mean_is_that_of_the_inner_heads_predictions() -> None:
    module = Experts(inner=ResLT(branches=2), num_experts=2).build(6, 4, STATS).eval()
    outputs = module(maps())
    assert module.names == ("main", "expert0", "expert0/branch0", "expert0/branch1", *module.names[4:])
    sums = [outputs[f"expert{number}/branch0"] + outputs[f"expert{number}/branch1"] for number in range(2)]
    torch.testing.assert_close(outputs["main"], (sums[0] + sums[1]) / 2)


def test_the_classifier_gives_the_mean_prediction_without_bias() -> None:
    module = Experts(inner=Linear(bias=False), num_experts=2).build(6, 4)
    expected = maps().mean((2, 3)) @ module.classifier_weight.T
    torch.testing.assert_close(module(maps())["main"], expected)


def test_tau_normalisation_divides_the_vectors_of_every_expert() -> None:
    module = Experts(num_experts=2).build(6, 4)
    changed = TauNorm(tau=1.0).apply(module, STATS)
    for head, before in zip(changed.inner, module.inner, strict=True):  # type: ignore[arg-type]
        assert torch.allclose(head.fc.weight.norm(dim=1), torch.ones(4))  # type: ignore[union-attr]
        assert not torch.equal(head.fc.weight, before.fc.weight)  # type: ignore[union-attr]
    with pytest.raises(TailwiseError, match="tau_norm rescales a linear classifier, and CosineModule has none"):
        TauNorm().check(Experts(inner=Cosine()).build(6, 4))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Experts(num_experts=0), "num_experts must be at least 1, got 0"),
        (lambda: Experts(inner=Experts()), "inner must be the head of a single expert, got experts"),
        (lambda: Experts(num_experts=4).build(6, 4), "6 features cannot be shared by 4 experts"),
    ],
)
def test_wrong_numbers_are_refused(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]


@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        (Backbone(name="resnet20", width=0.25), "for 3 experts and the backbone has none; take one such as"),
        (Backbone(name="ride_resnet20", experts=2), r"for 3 experts and the backbone has 2; .*head.num_experts=2"),
    ],
)
def test_head_and_backbone_must_have_as_many_experts(backbone: Backbone, message: str) -> None:
    recipe = dataclasses.replace(tiny_recipe(), backbone=backbone, head=Experts())
    with pytest.raises(TailwiseError, match=message):
        Task(recipe, STATS)
