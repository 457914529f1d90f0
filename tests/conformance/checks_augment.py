"""What everything in the mix, view and feature-augmentation slots must do: draw first, apply later."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from tailwise.augment.base import FeatureAug, Mix, View
from tailwise.core.types import MixedTarget
from tests.conformance.cases import check_record as records

STEPS, BATCH = 3, 8
Slot = Mix | View | FeatureAug


def rows(component: Slot, seed: int = 0) -> list[dict[str, torch.Tensor]]:
    draws = component.draw(np.random.default_rng(seed), STEPS, BATCH)
    return [{name: torch.from_numpy(array[step, ...].copy()) for name, array in draws.items()} for step in range(STEPS)]


def inputs() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(BATCH, 3, 8, 8, generator=generator), torch.arange(BATCH) % 4


def apply(component: Slot, row: dict[str, torch.Tensor]) -> Any:
    image, label = inputs()
    if isinstance(component, Mix):
        return component(image, label, row)
    if isinstance(component, View):
        return component(image, row)
    return component(image, {"main": label}, torch.randn(4, 3, generator=torch.Generator().manual_seed(1)), row)


def tensors(result: Any) -> list[torch.Tensor]:
    if isinstance(result, torch.Tensor):
        return [result]
    items = result.values() if isinstance(result, dict) else result
    return [tensor for item in items for tensor in tensors(item)]


def check_draws_are_arrays_by_step(component: Slot) -> None:
    """Plain arrays with one row a step, the same for the same generator and others for another."""
    first = component.draw(np.random.default_rng(0), STEPS, BATCH)
    again = component.draw(np.random.default_rng(0), STEPS, BATCH)
    for name, array in first.items():
        assert array.shape[0] == STEPS
        assert np.array_equal(array, again[name])
    other = component.draw(np.random.default_rng(1), STEPS, BATCH)
    assert not first or any(not np.array_equal(array, other[name]) for name, array in first.items())


def check_applying_draws_nothing(component: Slot) -> None:
    """The same row gives the same result, and the state of torch's generator stays."""
    row = rows(component)[0]
    before = torch.get_rng_state()
    first, second = apply(component, row), apply(component, row)
    assert torch.equal(torch.get_rng_state(), before)
    for left, right in zip(tensors(first), tensors(second), strict=True):
        assert torch.equal(left, right)


def check_shapes_and_targets(component: Slot) -> None:
    """A mix keeps its shape and has lambda in [0, 1]; all results are finite."""
    for row in rows(component):
        result = apply(component, row)
        assert all(torch.isfinite(tensor.float()).all() for tensor in tensors(result))
        if isinstance(component, Mix):
            image, target = result
            assert image.shape == (BATCH, 3, 8, 8)
            if isinstance(target, MixedTarget):
                assert target.first.shape == target.second.shape == target.lam.shape == (BATCH,)
                assert (target.lam >= 0).all()
                assert (target.lam <= 1).all()


def check_record(component: Slot) -> None:
    """Pickle, plain data and YAML give it back."""
    base = next(base for base in (Mix, View, FeatureAug) if isinstance(component, base))
    records(component, base)


CHECKS = (check_draws_are_arrays_by_step, check_applying_draws_nothing, check_shapes_and_targets, check_record)
