"""The numbers of CAM-based sampling's recipes on CIFAR-10-LT with factor 100."""

from __future__ import annotations

import dataclasses

import pytest

from tailwise.augment.cam_transform import CamTransform
from tailwise.core.stats import ClassStats
from tailwise.engine.recipe import Recipe
from tailwise.engine.span import spans
from tailwise.recipes.base import base_recipe, make_recipe
from tailwise.recipes.cam import cam_sampling
from tailwise.samplers.power import Power
from tailwise.samplers.progressive import Progressive

STATS = ClassStats([5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50])


def recipe(name: str) -> Recipe:
    return make_recipe(name, base_recipe("cifar10"))


def rates(found: Recipe) -> list[float]:
    return [
        span.learning_rate(found.stages, epoch, 0.0)
        for span in spans(found.stages, STATS.num_images)
        for epoch in range(span.epochs)
    ]


@pytest.mark.parametrize(("name", "early"), [("cam-balance-sampling", 0), ("cam-balance-sampling-official", 1)])
def test_rates_are_those_of_the_two_stages(name: str, early: int) -> None:
    found = recipe(name)
    assert [stage.epochs for stage in found.stages] == [160, 40]
    assert [stage.optim is not None for stage in found.stages] == [True, True]
    series = rates(found)
    # The code steps its schedule before the epoch: its last epoch of the first stage has the rate of the second.
    expected = [0.1] * (160 - early) + [1e-3] * early + [1e-3] * (20 - early) + [1e-5] * (20 + early)
    assert series[5:] == pytest.approx(expected[5:])
    warm = [0.02, 0.04, 0.06, 0.08, 0.1] if not early else [0.1 * ((1 - e / 5) / 3 + e / 5) for e in range(1, 6)]
    assert series[:5] == pytest.approx(warm)
    assert found.variant == ("official" if early else "paper")


def test_all_classes_get_equally_many_images() -> None:
    stream = recipe("cam-balance-sampling-official").stages[1].streams["main"]
    assert stream.generate is not None
    numbers = stream.generate.numbers(STATS)
    assert (numbers + STATS.counts == 5050).all()
    assert (numbers + STATS.counts).sum() == 50_500
    assert stream.generate == CamTransform(
        threshold=0.75,
        transforms=("flip", "translate", "rotate_scale"),
        aligned=False,
        details="official",
        fixed=True,
    )


def test_only_the_second_stage_generates_and_samples() -> None:
    for name in ("cam-balance-sampling", "cam-progressive-sampling", "image-trans-balance-sampling"):
        first, second = (stage.streams["main"] for stage in recipe(name).stages)
        assert (first.generate, first.sampler) == (None, Power())
        assert second.generate is not None
        assert second.generate.needs_maps == name.startswith("cam")
    assert recipe("cam-progressive-sampling").stages[1].streams["main"].sampler == Progressive(start=1 / 40)


def test_recipes_that_cannot_be_divided_are_refused() -> None:
    two = recipe("cam-balance-sampling")
    with pytest.raises(ValueError, match="expected a recipe with one stage to divide, got 2 stages"):
        cam_sampling(two, Power())
    short = dataclasses.replace(two.stages[0], epochs=1)
    with pytest.raises(ValueError, match="a stage that is divided needs at least two epochs and no length in steps"):
        cam_sampling(dataclasses.replace(two, stages=(short,)), Power())
    with pytest.raises(ValueError, match="variant must be one of paper, official, image_trans, got 'own'"):
        cam_sampling(base_recipe("cifar10"), Power(), "own")  # pyright: ignore[reportArgumentType]


def test_a_cap_reaches_the_component() -> None:
    generate = cam_sampling(base_recipe("cifar10"), Power(q=0.0), cap=100).stages[1].streams["main"].generate
    assert generate == CamTransform(cap=100)
