"""Schedules, objectives and augmentations: every check on everything registered, and every check shown to fail."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from tailwise.augment.base import Draws, Mix
from tailwise.core.registry import REGISTRY
from tailwise.core.spec import frozen
from tailwise.core.stats import ClassStats
from tailwise.core.types import MixedTarget, Part, Target
from tailwise.engine.schedule import Constant, Cosine
from tailwise.objectives.base import BoundObjective
from tailwise.objectives.classification import Classification
from tests.conformance import checks_augment, checks_objectives, checks_schedules
from tests.conformance.cases import Check, parameters

AUGMENTATIONS = [
    pytest.param(kind, *parameter.values, id=parameter.id)
    for kind in ("mixes", "views", "feature_augs")
    for parameter in parameters(kind, checks_augment.CHECKS)
]


@pytest.mark.parametrize(("name", "check"), parameters("schedules", checks_schedules.CHECKS))
def test_schedule(name: str, check: Check) -> None:
    check(REGISTRY.make("schedules", name))


@pytest.mark.parametrize(("name", "check"), parameters("objectives", checks_objectives.CHECKS))
def test_objective(name: str, check: Check) -> None:
    check(REGISTRY.make("objectives", name))


@pytest.mark.parametrize(("kind", "name", "check"), AUGMENTATIONS)
def test_augmentation(kind: str, name: str, check: Check) -> None:
    check(REGISTRY.make(kind, name))


@frozen
class Unregistered(Constant):
    """Its record names its base class."""


class Drifting(Constant):
    calls: ClassVar[list[int]] = []

    def factor(self, epoch: int, fraction: float, total: float) -> float:
        self.calls.append(epoch)
        return 1 / len(self.calls)


class Negative(Constant):
    def factor(self, epoch: int, fraction: float, total: float) -> float:
        return 1.0 - epoch


class Forgetful(Cosine):
    def rescale(self, ratio: float) -> Constant:
        return Constant()


class Parts(BoundObjective):
    def __init__(self, make: Any) -> None:
        super().__init__()
        self.make = make

    def forward(
        self, outputs: Mapping[str, Tensor], targets: Mapping[str, Target], rows: Mapping[str, tuple[int, int]]
    ) -> dict[str, Part]:
        target = targets["main"]
        label = target.first if isinstance(target, MixedTarget) else target
        return self.make(outputs["main"], label, isinstance(target, MixedTarget))


@frozen
class Odd(Classification):
    """An objective with any parts."""

    make: ClassVar[Any] = None

    def bind(self, stats: ClassStats) -> BoundObjective:
        return Parts(type(self).make)


def odd(make: Any) -> Odd:
    return frozen(type("Broken", (Odd,), {"make": staticmethod(make)}))()


@frozen
class Halves(Mix):
    """A correct mix, the base of the broken ones."""

    def draw(self, rng: np.random.Generator, steps: int, batch: int) -> Draws:
        return {"lam": rng.random((steps, batch)).astype(np.float32)}

    def __call__(self, image: Tensor, label: Tensor, row: Mapping[str, Tensor]) -> tuple[Tensor, Target]:
        return image, MixedTarget(label, label.flip(0), row["lam"])


def broken_mix(**methods: Any) -> Mix:
    return frozen(type("Broken", (Halves,), methods))()


BROKEN: dict[Check, Any] = {
    checks_schedules.check_factor_is_a_share_of_the_base_rate: Negative(),
    checks_schedules.check_factor_is_pure: Drifting(),
    checks_schedules.check_rescale_keeps_the_end: Forgetful(),
    checks_schedules.check_record: Unregistered(),
    checks_objectives.check_parts_are_finite_fractions: odd(
        lambda z, y, mixed: {"a": Part(z.detach().sum() + 0 * z.sum(), z.new_zeros(()), 1.0)}
    ),
    checks_objectives.check_processes_add_up: odd(lambda z, y, mixed: {"a": Part(z.mean(), z.new_ones(()), 1.0)}),
    checks_objectives.check_a_mixture_of_one_label_is_the_label: odd(
        lambda z, y, mixed: {"a": Part(z.square().sum() * (2 if mixed else 1), z.new_ones(()), 1.0)}
    ),
    checks_objectives.check_record: odd(None),
    checks_augment.check_draws_are_arrays_by_step: broken_mix(
        draw=lambda self, rng, steps, batch: {"lam": np.ones((steps, batch), np.float32)}
    ),
    checks_augment.check_applying_draws_nothing: broken_mix(
        __call__=lambda self, image, label, row: (image + torch.rand(1).view(1, 1, 1, 1), label)
    ),
    checks_augment.check_shapes_and_targets: broken_mix(
        __call__=lambda self, image, label, row: (image, MixedTarget(label, label, row["lam"] + 1))
    ),
    checks_augment.check_lambda_of_one_changes_nothing: broken_mix(
        __call__=lambda self, image, label, row: (image.flip(0), MixedTarget(label, label, row["lam"]))
    ),
    checks_augment.check_a_share_of_the_plan: broken_mix(
        draw=lambda self, rng, steps, batch: {"pair": np.stack([rng.permutation(batch) for _ in range(steps)])},
        __call__=lambda self, image, label, row: (
            image[row["pair"]],
            MixedTarget(label, label[row["pair"]], torch.ones(len(label))),
        ),
    ),
    checks_augment.check_precision: broken_mix(
        __call__=lambda self, image, label, row: (image * row["lam"].view(-1, 1, 1, 1), label)
    ),
    checks_augment.check_compiles: broken_mix(
        __call__=lambda self, image, label, row: (image if image.sum() > 0 else -image, label)
    ),
    checks_augment.check_never_waits: broken_mix(
        __call__=lambda self, image, label, row: (image[row["lam"] > 0], label)
    ),
    checks_augment.check_record: Halves(),
}


def test_every_check_is_shown_to_fail() -> None:
    everything = {*checks_schedules.CHECKS, *checks_objectives.CHECKS, *checks_augment.CHECKS}
    assert set(BROKEN) == everything


@pytest.mark.parametrize("check", BROKEN, ids=lambda check: f"{check.__module__.rsplit('.')[-1]}-{check.__name__}")
def test_a_broken_component_fails(check: Check) -> None:
    with pytest.raises(Exception):  # noqa: B017 - an assertion or the failure itself
        check(BROKEN[check])


@pytest.mark.parametrize("check", checks_augment.CHECKS[:-1])
def test_a_correct_mix_passes(check: Check) -> None:
    check(Halves())
    assert isinstance(Halves(), Mix)
