"""Several heads at once: the batched product of the ordinary heads, and the general way for all others."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tailwise.heads import Cosine, Head, HeadModule, Linear
from tailwise.heads.cosine import CosineModule
from tailwise.heads.linear import LinearModule


def maps(count: int = 3) -> Tensor:
    return torch.randn(4, count, 6, 2, 3, generator=torch.Generator().manual_seed(0))


def alone(heads: Sequence[HeadModule], features: Tensor) -> Tensor:
    return torch.stack([head(features[:, number])["main"] for number, head in enumerate(heads)], dim=1)


class Doubled(LinearModule):
    """Inherits the batched product but computes something else."""

    def forward(self, maps: Tensor) -> dict[str, Tensor]:
        return {"main": 2 * super().forward(maps)["main"]}


class Branches(HeadModule):
    """BatchNorm, and an auxiliary output of another width."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.fc, self.aux = nn.BatchNorm2d(6), nn.Linear(6, 5), nn.Linear(6, 2)

    def forward(self, maps: Tensor) -> dict[str, Tensor]:
        pooled = self.pool(self.norm(maps))
        return {"main": self.fc(pooled), "aux": self.aux(pooled)}

    @property
    def classifier_weight(self) -> Tensor:
        return self.fc.weight


@pytest.mark.parametrize("head", [Linear(), Linear(bias=False), Cosine(scale=16.0)])
def test_equal_heads_are_one_batched_product(head: Head, monkeypatch: pytest.MonkeyPatch) -> None:
    modules = [head.build(6, 5) for _ in range(3)]
    expected, pooled = alone(modules, maps()), alone(modules, maps().mean((3, 4)))
    for kind in (LinearModule, CosineModule):
        monkeypatch.setattr(kind, "forward", None)  # The ordinary way would fail.
    outputs = type(modules[0]).forward_stacked(modules, maps())
    assert list(outputs) == ["main"]
    np.testing.assert_allclose(outputs["main"].detach(), expected.detach(), rtol=1e-4, atol=1e-5)
    again = type(modules[0]).forward_stacked(modules, maps().mean((3, 4)))["main"]
    np.testing.assert_allclose(again.detach(), pooled.detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "modules",
    [
        [Linear().build(6, 5), Linear(bias=False).build(6, 5), Linear().build(6, 5)],
        [Linear().build(6, 5), Doubled(6, 5, True), Cosine().build(6, 5)],
        [Doubled(6, 5, True), Doubled(6, 5, True), Doubled(6, 5, True)],
        [Cosine(scale=1.0).build(6, 5), Cosine(scale=2.0).build(6, 5), Cosine(scale=1.0).build(6, 5)],
        [Cosine().build(6, 5), Linear().build(6, 5), Linear().build(6, 5)],
    ],
    ids=["biases", "classes", "a subclass", "scales", "cosine and linear"],
)
def test_heads_that_do_not_fit_one_product_are_computed_one_by_one(modules: list[HeadModule]) -> None:
    value = type(modules[0]).forward_stacked(modules, maps())["main"]
    np.testing.assert_allclose(value.detach(), alone(modules, maps()).detach(), rtol=1e-5, atol=1e-6)


def test_heads_with_statistics_and_several_outputs_are_those_of_each_network() -> None:
    modules = [Branches() for _ in range(3)]
    twins = copy.deepcopy(modules)
    outputs = Branches.forward_stacked(modules, maps())
    assert {name: tuple(value.shape) for name, value in outputs.items()} == {"main": (4, 3, 5), "aux": (4, 3, 2)}
    for number, (module, twin) in enumerate(zip(modules, twins, strict=True)):
        expected = twin(maps()[:, number])
        assert torch.equal(outputs["main"][:, number], expected["main"])
        assert torch.equal(outputs["aux"][:, number], expected["aux"])
        assert torch.equal(module.norm.running_mean, twin.norm.running_mean)  # type: ignore[arg-type]
        assert int(module.norm.num_batches_tracked) == 1  # type: ignore[arg-type]


@pytest.mark.parametrize("head", [Linear(), Cosine()])
def test_a_frozen_head_gets_no_gradient_and_the_others_do(head: Head) -> None:
    modules = [head.build(6, 5) for _ in range(3)]
    modules[1].requires_grad_(False)
    type(modules[0]).forward_stacked(modules, maps())["main"].square().sum().backward()
    assert all(item.grad is None for item in modules[1].parameters())
    assert all(item.grad is not None and bool(item.grad.any()) for item in modules[2].parameters())


def test_pooling_of_a_stack_takes_maps_or_pooled_features_only() -> None:
    features = torch.randn(4, 3, 6)
    assert HeadModule.pool_stacked(features) is features
    np.testing.assert_allclose(HeadModule.pool_stacked(maps()), maps().numpy().mean((3, 4)), rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match=r"got shape \[4, 6, 2, 3\]"):
        HeadModule.pool_stacked(torch.zeros(4, 6, 2, 3))
