"""What everything in the mix, view and feature-augmentation slots must do: draw first, apply later."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.testing import assert_close

from tailwise.augment.base import FeatureAug, Mix, View
from tailwise.core.stats import ClassStats
from tailwise.core.types import MixedTarget
from tests.conformance.cases import check_record as records

STEPS, BATCH = 3, 8
#: Two pairs of classes are unequal by more than three times.
STATS = ClassStats([100, 10, 40, 4])
Slot = Mix | View | FeatureAug


def rows(component: Slot, seed: int = 0) -> list[dict[str, torch.Tensor]]:
    draws = component.draw(np.random.default_rng(seed), STEPS, BATCH)
    return [{name: torch.from_numpy(array[step, ...].copy()) for name, array in draws.items()} for step in range(STEPS)]


def inputs() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(BATCH, 3, 8, 8, generator=generator), torch.arange(BATCH) % 4


Apply = Callable[[dict[str, torch.Tensor], torch.Tensor, torch.Tensor], Any]


def applied(component: Slot, device: str = "cpu") -> Apply:
    """A function from row, images and labels to the result; of a feature augmentation at all of its places too."""
    if isinstance(component, Mix):
        mix = component.bind(STATS).to(device)
        return lambda row, image, label: mix(image, label, row)
    if isinstance(component, View):
        return lambda row, image, label: component(image, row)

    def everywhere(row: dict[str, torch.Tensor], image: torch.Tensor, label: torch.Tensor) -> Any:
        for place in component.places:
            if place != "fc":
                image = component.at_place(place, image, {"main": label}, row)
        weight = torch.linspace(-1, 1, 12, device=image.device, dtype=image.dtype).view(4, 3)
        maps, targets = component(image, {"main": label}, weight, row)
        if "fc" in component.places:
            maps = component.at_place("fc", maps.flatten(1), {"main": label}, row)
        return maps, targets

    return everywhere


def apply(component: Slot, row: dict[str, torch.Tensor], image: torch.Tensor, label: torch.Tensor) -> Any:
    return applied(component)(row, image, label)


def tensors(result: Any) -> list[torch.Tensor]:
    if isinstance(result, torch.Tensor):
        return [result]
    items = result.values() if isinstance(result, dict) else result
    return [tensor for item in items for tensor in tensors(item)]


def targets_of(result: Any) -> list[MixedTarget]:
    target = result[1]
    found = target.values() if isinstance(target, dict) else [target]
    return [item for item in found if isinstance(item, MixedTarget)]


def check_draws_are_arrays_by_step(component: Slot) -> None:
    """Plain arrays with one row a step, the same for the same generator and others for another."""
    first = component.draw(np.random.default_rng(0), STEPS, BATCH)
    again = component.draw(np.random.default_rng(0), STEPS, BATCH)
    for name, array in first.items():
        assert array.shape[0] == STEPS
        assert array.ndim == 1 or array.shape[1] == BATCH
        assert np.array_equal(array, again[name])
    other = component.draw(np.random.default_rng(1), STEPS, BATCH)
    assert not first or any(not np.array_equal(array, other[name]) for name, array in first.items())


def check_applying_draws_nothing(component: Slot) -> None:
    """The same row gives the same result, the state of torch's generator stays, and so does what went in."""
    row = rows(component)[0]
    before = torch.get_rng_state()
    image, label = inputs()
    first, second = apply(component, row, image, label), apply(component, row, image, label)
    assert torch.equal(torch.get_rng_state(), before)
    for left, right in zip(tensors(first), tensors(second), strict=True):
        assert torch.equal(left, right)
    assert all(torch.equal(now, then) for now, then in zip((image, label), inputs(), strict=True))


def check_shapes_and_targets(component: Slot) -> None:
    """A mix keeps its shape; labels stay labels and lambda is in [0, 1]; all results are finite."""
    for row in rows(component):
        result = apply(component, row, *inputs())
        assert all(torch.isfinite(tensor.float()).all() for tensor in tensors(result))
        if isinstance(component, Mix):
            assert result[0].shape == (BATCH, 3, 8, 8)
        for target in targets_of(result):
            assert target.first.shape == target.second.shape == target.lam.shape == (BATCH,)
            assert torch.equal(target.first, inputs()[1])
            assert torch.equal(target.second.sort().values, target.first.sort().values)
            assert (target.lam >= 0).all()
            assert (target.lam <= 1).all()


def check_lambda_of_one_changes_nothing(component: Slot) -> None:
    """Where a component draws ``lam``, a lambda of 1 leaves the images and gives the first label everything."""
    for row in rows(component):
        if "lam" not in row:
            return
        row["lam"] = torch.ones_like(row["lam"])
        image, label = inputs()
        result = apply(component, row, image, label)
        maps = result[0]
        # A feature augmentation may pool its maps.
        expected = image.mean((2, 3)) if maps.shape == image.shape[:2] else image
        assert torch.equal(maps.view_as(expected), expected)
        assert all((target.lam == 1).all() for target in targets_of(result))


def check_a_share_of_the_plan(component: Slot) -> None:
    """Any columns of the draws, which is what one of several processes gets, apply to as many images."""
    draws = component.draw(np.random.default_rng(0), STEPS, BATCH)
    image, label = inputs()
    for world in (2, 4):
        for rank in range(world):
            share = {name: array[:, rank::world] if array.ndim > 1 else array for name, array in draws.items()}
            row = {name: torch.from_numpy(array[0, ...].copy()) for name, array in share.items()}
            part = label[rank::world]
            result = apply(component, row, image[rank::world], part)
            assert all(len(tensor) == BATCH // world for tensor in tensors(result))
            for target in targets_of(result):
                assert torch.equal(target.second.sort().values, part.sort().values)


def check_precision(component: Slot) -> None:
    """Float64 and bfloat16 images keep their type, and float64 is not rounded on the way."""
    row = rows(component)[0]
    image, label = inputs()
    single = apply(component, row, image, label)[0]
    assert single.dtype == torch.float32
    assert apply(component, row, image.bfloat16(), label)[0].dtype == torch.bfloat16
    double = apply(component, row, image.double(), label)[0]
    assert double.dtype == torch.float64
    assert_close(double.float(), single)


def check_compiles(component: Slot) -> None:
    """Dynamo traces it as one graph, with the same result."""
    torch.compiler.reset()
    image, label = inputs()
    compiled = torch.compile(applied(component), fullgraph=True, backend="aot_eager")
    for row in rows(component):
        result, expected = compiled(row, image, label), apply(component, row, image, label)
        for left, right in zip(tensors(result), tensors(expected), strict=True):
            assert_close(left, right)


def check_never_waits(component: Slot) -> None:
    """It runs without data, so nothing in it waits for a value on the device and all shapes are static."""
    row = {name: value.to("meta") for name, value in rows(component)[0].items()}
    image, label = inputs()
    result = applied(component, "meta")(row, image.to("meta"), label.to("meta"))
    assert all(tensor.is_meta for tensor in tensors(result))


def check_record(component: Slot) -> None:
    """Pickle, plain data and YAML give it back."""
    base = next(base for base in (Mix, View, FeatureAug) if isinstance(component, base))
    records(component, base)


CHECKS = (
    check_draws_are_arrays_by_step,
    check_applying_draws_nothing,
    check_shapes_and_targets,
    check_lambda_of_one_changes_nothing,
    check_a_share_of_the_plan,
    check_precision,
    check_compiles,
    check_never_waits,
    check_record,
)
