"""Every check of the suite fails on a component that breaks what it checks: a check that cannot fail checks nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from tailwise.core.spec import frozen
from tailwise.core.stats import ClassStats
from tailwise.heads.base import Head
from tailwise.heads.linear import Linear, LinearModule
from tailwise.losses.base import BoundLoss, Loss
from tailwise.losses.cross_entropy import CrossEntropy
from tailwise.models.resnet_cifar import ResNetCifar
from tailwise.samplers.base import Sampler
from tailwise.samplers.power import Power
from tests.conformance import checks_backbones, checks_heads, checks_losses, checks_samplers


def ce(logits: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(logits, target, reduction="none")


def a_loss(formula: Callable[[Tensor, Tensor], Tensor], **overrides: Any) -> Loss:
    def per_sample(self: Loss, logits: Tensor, target: Tensor) -> Tensor:
        return formula(logits, target)

    return frozen(type("Broken", (Loss,), {"per_sample": per_sample, **overrides}))()


def always_mean(self: Loss, counts: Any, reduction: str = "mean") -> BoundLoss:
    return Loss.bind(self, counts, "mean")


def branching(tensor: Tensor) -> Tensor:
    return tensor if tensor.sum() > 0 else tensor + 0


def synchronising(tensor: Tensor) -> Tensor:
    return tensor + 0 * tensor.sum().item()


@frozen
class Unregistered(CrossEntropy):
    """Its record names another class, the one it inherits its registry name from."""


BROKEN_LOSSES: dict[str, Loss] = {
    "check_finite_at_extremes": a_loss(lambda z, y: z.exp().sum(1).log() - z.gather(1, y[:, None])[:, 0]),
    "check_gradient": a_loss(lambda z, y: ce(z.detach(), y) + 0 * z.sum(1)),
    "check_uniform_counts": a_loss(lambda z, y: 2 * ce(z, y)),
    "check_class_order": a_loss(lambda z, y: ce(z, y) * (1 + (y < 3).to(z.dtype))),
    "check_shift": a_loss(lambda z, y: ce(z, y) + z.square().mean(1)),
    "check_samples_independent": a_loss(lambda z, y: ce(z, y).mean().expand(len(y))),
    "check_pure": a_loss(lambda z, y: ce(z.mul_(2), y)),
    "check_reductions": a_loss(ce, bind=always_mean),
    "check_precision": a_loss(lambda z, y: ce(z.float(), y).to(z.dtype)),
    "check_record": Unregistered(),
    "check_compiles": a_loss(lambda z, y: ce(branching(z), y)),
    "check_moves": a_loss(lambda z, y: ce(z + torch.ones(z.shape[1], dtype=z.dtype, device="cpu"), y)),
}


def a_sampler(draw: Callable[..., NDArray[np.int64]] = Power.draw, **overrides: Any) -> Sampler:
    return frozen(type("Broken", (Power,), {"draw": draw, **overrides}))(q=0.0)


def own_randomness(
    self: Sampler, labels: NDArray[np.int64], stats: ClassStats, progress: float, n: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    return np.random.default_rng().integers(0, len(labels), n)


def ignores_classes(
    self: Sampler, labels: NDArray[np.int64], stats: ClassStats, progress: float, n: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    return rng.integers(0, stats.num_images, n)


def one_short(
    self: Power, labels: NDArray[np.int64], stats: ClassStats, progress: float, n: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    return Power.draw(self, labels, stats, progress, n, rng)[1:]


def first_image_only(
    self: Power, labels: NDArray[np.int64], stats: ClassStats, progress: float, n: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    first = np.unique(labels, return_index=True)[1]
    return first[labels[Power.draw(self, labels, stats, progress, n, rng)]]


def by_label_number(self: Sampler, stats: ClassStats, progress: float) -> NDArray[np.float64]:
    return np.arange(1.0, stats.num_classes + 1) / np.arange(1.0, stats.num_classes + 1).sum()


@frozen
class UnregisteredSampler(Power):
    """Its record names another class."""


BROKEN_SAMPLERS: dict[str, Sampler] = {
    "check_positions": a_sampler(one_short),
    "check_mass": a_sampler(class_mass=by_label_number),
    "check_class_shares": a_sampler(ignores_classes),
    "check_image_shares": a_sampler(first_image_only),
    "check_pool_may_grow": a_sampler(ignores_classes),
    "check_deterministic": a_sampler(own_randomness),
    "check_rank_slices": a_sampler(own_randomness),
    "check_record": UnregisteredSampler(),
}


def a_head(forward: Callable[[Any, Tensor], Tensor], **overrides: Any) -> Head:
    """A linear head with another forward pass, or with other members of its module."""

    def named(self: LinearModule, maps: Tensor) -> dict[str, Tensor]:
        return {"main": forward(self, maps)}

    module = type("BrokenModule", (LinearModule,), {"forward": named, **overrides})

    def build(self: Linear, num_features: int, num_classes: int, stats: ClassStats | None = None) -> Any:
        return module(num_features, num_classes, True)

    return frozen(type("Broken", (Linear,), {"build": build}))()


def usual(module: LinearModule, maps: Tensor) -> Tensor:
    return module.fc(module.pool(maps))


@classmethod
def without_bias(cls: type[LinearModule], heads: Any, maps: Tensor) -> dict[str, Tensor]:
    weight = torch.stack([head.fc.weight for head in heads])
    return {"main": torch.einsum("bkd,kcd->bkc", cls.pool_stacked(maps), weight)}


def export_without_bias(self: LinearModule) -> LinearModule:
    twin = LinearModule(self.fc.in_features, self.fc.out_features, bias=False).to(self.fc.weight)
    twin.load_state_dict({"fc.weight": self.fc.weight})
    return twin


def without_randomness(self: LinearModule, num_features: int, num_classes: int, bias: bool) -> None:
    LinearModule.__init__(self, num_features, num_classes, bias)
    nn.init.ones_(self.fc.weight)
    nn.init.zeros_(self.fc.bias)


def with_unused_parameter(self: LinearModule, num_features: int, num_classes: int, bias: bool) -> None:
    LinearModule.__init__(self, num_features, num_classes, bias)
    self.unused = nn.Parameter(torch.zeros(1))


def needs_row_major(module: LinearModule, maps: Tensor) -> Tensor:
    return usual(module, maps.view(len(maps), -1).view(maps.shape))


@frozen
class UnregisteredHead(Linear):
    """Its record names another class."""


BROKEN_HEADS: dict[str, Head] = {
    "check_logits": a_head(lambda module, maps: usual(module, maps)[:, 1:]),
    "check_pooled": a_head(lambda module, maps: module.fc(maps.amax((2, 3)) if maps.ndim == 4 else maps)),
    "check_classifier_weight": a_head(usual, classifier_weight=property(lambda self: self.fc.weight.detach())),
    "check_gradients": a_head(usual, __init__=with_unused_parameter),
    "check_samples_independent": a_head(lambda module, maps: usual(module, maps) - usual(module, maps).mean(0)),
    "check_precision": a_head(needs_row_major),
    "check_compiles": a_head(lambda module, maps: branching(usual(module, maps))),
    "check_meta": a_head(lambda module, maps: synchronising(usual(module, maps))),
    "check_state": a_head(usual, __init__=without_randomness),
    "check_stacked": a_head(usual, forward_stacked=without_bias),
    "check_export": a_head(usual, for_export=export_without_bias),
    "check_record": UnregisteredHead(),
}


class BrokenNetwork(ResNetCifar):
    """A small network with one of several faults."""

    noise: Tensor

    def __init__(self, fault: str, width: float) -> None:
        super().__init__(8, width)
        self.fault = fault
        if fault == "features":
            self.num_features += 1
        if fault == "unused":
            self.unused = nn.Parameter(torch.zeros(1))
        if fault == "state":
            self.register_buffer("noise", torch.rand(1), persistent=False)

    def forward_features(self, x: Tensor) -> Tensor:
        maps = super().forward_features(x)
        if self.fault == "state":
            return maps * self.noise
        if self.fault == "memory":
            return maps.view(len(maps), -1).view(maps.shape)
        if self.fault == "channels":
            return maps.flip(1)
        if self.fault == "branch":
            return branching(maps)
        return synchronising(maps) if self.fault == "item" else maps


def a_network(fault: str) -> Callable[[float], BrokenNetwork]:
    return lambda width: BrokenNetwork(fault, width)


BROKEN_BACKBONES: dict[str, Callable[[float], BrokenNetwork]] = {
    "check_maps": a_network("features"),
    "check_gradients": a_network("unused"),
    "check_state": a_network("state"),
    "check_formats": a_network("memory"),
    "check_compiles": a_network("branch"),
    "check_layers": a_network("channels"),
    "check_meta": a_network("item"),
    "check_stacked": a_network("channels"),
}

SUITES: dict[str, tuple[Any, dict[str, Any]]] = {
    "losses": (checks_losses.CHECKS, BROKEN_LOSSES),
    "samplers": (checks_samplers.CHECKS, BROKEN_SAMPLERS),
    "heads": (checks_heads.CHECKS, BROKEN_HEADS),
    "backbones": (checks_backbones.CHECKS, BROKEN_BACKBONES),
}
CASES = [
    pytest.param(check, broken[check.__name__], id=f"{kind}-{check.__name__.removeprefix('check_')}")
    for kind, (checks, broken) in SUITES.items()
    for check in checks
    if check.__name__ in broken
]


@pytest.mark.parametrize(("check", "broken"), CASES)
def test_check_fails_on_a_broken_component(check: Callable[[Any], None], broken: Any) -> None:
    # A check fails by its own assertion, or by the error of torch that it provokes.
    with pytest.raises((AssertionError, RuntimeError)):
        check(broken)


@pytest.mark.parametrize("kind", SUITES)
def test_every_check_has_a_component_that_it_must_reject(kind: str) -> None:
    checks, broken = SUITES[kind]
    assert {check.__name__ for check in checks} == set(broken)


@pytest.mark.parametrize(
    ("check", "whole"),
    [
        *((check, a_loss(ce)) for check in checks_losses.CHECKS if check.__name__ != "check_record"),
        *((check, a_sampler()) for check in checks_samplers.CHECKS if check.__name__ != "check_record"),
        *((check, a_head(usual)) for check in checks_heads.CHECKS if check.__name__ != "check_record"),
        *((check, a_network("none")) for check in checks_backbones.CHECKS),
    ],
)
def test_check_passes_without_the_fault(check: Callable[[Any], None], whole: Any) -> None:
    # So that a rejection above comes from the fault, and not from the way the component is made.
    assert check(whole) is None
