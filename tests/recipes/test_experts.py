"""Recipes with experts and with strong augmentation: their settings, and short runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tailwise.augment.mixup import Mixup
from tailwise.core.spec import from_yaml, to_yaml
from tailwise.core.stats import ClassStats
from tailwise.engine.recipe import Recipe
from tailwise.engine.schedule import MultiStep
from tailwise.engine.task import Task
from tailwise.engine.train import train
from tailwise.heads import Experts
from tailwise.losses.ldam import LDAM
from tailwise.objectives.per_expert import PerExpert
from tailwise.objectives.ride import Ride
from tailwise.recipes.base import base_recipe, make_recipe
from tailwise.recipes.experts import reslt_experts_with, ride_with
from tailwise.recipes.strong import strong
from tests.helpers import tiny_recipe

LARGE = base_recipe("list", Path("list.txt"), 224)
SMALL = base_recipe("cifar100")


@pytest.mark.parametrize("base", [SMALL, LARGE, base_recipe("digits")])
@pytest.mark.parametrize("make", [ride_with, reslt_experts_with])
@pytest.mark.parametrize("experts", [2, 3, 4])
def test_every_number_of_experts_resolves_and_builds(make: object, base: Recipe, experts: int) -> None:
    recipe: Recipe = make(base, experts)  # type: ignore[operator]
    assert from_yaml(Recipe, to_yaml(recipe), "recipe").hash == recipe.hash
    with torch.device("meta"):
        task = Task(recipe, ClassStats([80, 40, 20, 10, 5]))
        for stage in recipe.stages:
            task.check(stage)
            task.enter(stage)
    assert task.network.head.names[1] == "expert0"
    assert task.network.backbone.num_experts == experts


def test_ride_has_the_settings_of_the_authors_code_on_cifar() -> None:
    recipe = make_recipe("ride", SMALL)
    first, last = recipe.stages
    assert (first.epochs, last.epochs, last.optim) == (160, 40, None)
    assert first.optim is not None
    assert (first.optim.lr, first.optim.weight_decay, first.optim.nesterov) == (0.1, 5e-4, True)
    assert first.optim.schedule == MultiStep(milestones=(160, 180), gamma=0.01, warmup_epochs=5, warmup="linear")
    assert recipe.backbone.name == "ride_resnet32"
    plain, late = first.objective[0], last.objective[0]
    assert isinstance(plain, Ride)
    assert isinstance(late, Ride)
    assert (plain.loss, plain.spread, plain.diversity) == (LDAM(max_margin=15.0, scale=1.0), 0.0, -0.2)
    assert isinstance(late.loss, LDAM)
    assert (late.loss.beta, late.reduction, late.spread) == (0.9999, "weighted_mean", 0.05)


def test_ride_on_full_size_images_re_weights_from_epoch_81_of_100() -> None:
    recipe = make_recipe("ride", LARGE)
    assert [stage.epochs for stage in recipe.stages] == [80, 20]
    optim = recipe.stages[0].optim
    assert optim is not None
    assert (optim.lr, optim.weight_decay) == (0.1, 2e-4)
    assert optim.schedule == MultiStep(milestones=(60, 80), gamma=0.1, warmup_epochs=5, warmup="linear")
    assert recipe.stages[0].streams["main"].batch == 256
    late = recipe.stages[1].objective[0]
    assert isinstance(late, Ride)
    assert late.spread == 0.02
    assert recipe.backbone.name == "ride_resnext50"


def test_residual_experts_have_the_settings_of_the_authors_code_on_full_size_images() -> None:
    recipe = make_recipe("reslt-experts", LARGE)
    (stage,) = recipe.stages
    assert (stage.epochs, stage.streams["main"].batch) == (180, 128)
    assert stage.optim is not None
    assert (stage.optim.lr, stage.optim.weight_decay, stage.optim.nesterov) == (0.05, 5e-4, False)
    assert isinstance(recipe.head, Experts)
    assert recipe.head.inner.branch == "conv_bn_relu"  # type: ignore[attr-defined]
    assert isinstance(stage.objective[0], PerExpert)


def test_strong_augmentation_is_autoaugment_and_mixup_by_the_size_of_the_images() -> None:
    for base, policy in ((SMALL, "cifar10"), (LARGE, "imagenet")):
        recipe = strong(base)
        assert recipe.data.auto_augment == policy
        assert recipe.stages[0].mix == Mixup(alpha=1.0)
        assert recipe.hash != base.hash
    assert strong(SMALL).hash == make_recipe("ce-strong", SMALL).hash
    with pytest.raises(ValueError, match="strong augmentation includes mixup, and stage 0 of the recipe mixes already"):
        strong(strong(SMALL))


def run(name: str, folder: Path) -> dict[str, object]:
    train(tiny_recipe(name), folder)
    return json.loads((folder / "result.json").read_text())


def test_ride_trains_and_its_result_names_its_cost(tmp_path: Path) -> None:
    result = run("ride", tmp_path / "run")
    assert result["finished"]
    assert isinstance(result["multiply_accumulates"], int)
    assert result["multiply_accumulates"] > 10**4


@pytest.mark.slow
@pytest.mark.parametrize("name", ["reslt-experts", "ce-strong"])
def test_the_others_train(name: str, tmp_path: Path) -> None:
    assert run(name, tmp_path / "run")["finished"]
