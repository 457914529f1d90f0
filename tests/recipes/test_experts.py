"""Recipes with experts and with strong augmentation: their settings, and short runs."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from tailwise.augment.mixup import Mixup
from tailwise.core.registry import REGISTRY
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
from tailwise.recipes.experts import ride_with
from tailwise.recipes.reslt.experts import branched_experts
from tailwise.recipes.strong import strong
from tailwise.report.paper import Table
from tests.helpers import tiny_recipe

LARGE = base_recipe("list", Path("list.txt"), 224)
SMALL = base_recipe("cifar100")


@pytest.mark.parametrize("base", [SMALL, LARGE, base_recipe("digits")])
@pytest.mark.parametrize("make", [ride_with, branched_experts])
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


def test_ride_trains_and_its_result_names_its_cost(tmp_path: Path) -> None:
    train(tiny_recipe("ride"), tmp_path / "run")
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["finished"]
    assert result["multiply_accumulates"] > 10**4


def table(name: str) -> Table:
    return REGISTRY.find("tables", f"reslt-{name}").target()


def test_ride_s_rows_have_its_own_optimiser_in_the_columns_of_reslt() -> None:
    cifar = table("table5").recipe("ride-3", "cifar100-lt-100")
    optim = cifar.stages[0].optim
    assert optim is not None
    assert optim.schedule == MultiStep(milestones=(160, 180), gamma=0.01, warmup_epochs=5, warmup="linear")
    assert cifar.hash == make_recipe("ride", SMALL).hash
    lengths = {}
    for row in ("ride-2-100", "ride-2"):
        for column in ("imagenet-lt-resnext50", "inaturalist2018"):
            recipe = table("table7").recipe(row, column)
            lengths[row, column] = recipe.epochs
            assert recipe.head.num_experts == 2  # type: ignore[attr-defined]
            batch, rate = (256, 0.1) if column.startswith("imagenet") else (512, 0.2)
            assert recipe.stages[0].streams["main"].batch == batch
            assert recipe.stages[0].optim.lr == rate  # type: ignore[union-attr]
    assert list(lengths.values()) == [100, 100, 180, 200]


def test_rows_of_residual_experts_have_widths_and_optimiser_of_the_code() -> None:
    imagenet = table("table7").recipe("reslt-3", "imagenet-lt-resnext50", "official")
    inaturalist = table("table7").recipe("reslt-3", "inaturalist2018", "official")
    assert (imagenet.backbone.name, imagenet.backbone.reduced) == ("ride_resnext50", True)
    assert (inaturalist.backbone.name, inaturalist.backbone.reduced) == ("ride_resnet50", False)
    found = [(item.epochs, item.stages[0].streams["main"].batch) for item in (imagenet, inaturalist)]
    assert found == [(180, 128), (200, 256)]
    rates = [item.stages[0].optim.lr for item in (imagenet, inaturalist)]  # type: ignore[union-attr]
    assert rates == [0.05, 0.1]
    assert [item.label for item in imagenet.evaluate.posthoc] == ["tau_norm(tau=0.7)"]
    cifar = table("table5").recipe("reslt-3-experts", "cifar100-lt-100", "official")
    objective = cifar.stages[0].objective[0]
    assert isinstance(objective, PerExpert)
    plain = table("table5").recipe("reslt", "cifar100-lt-100", "official")
    assert objective.objective == plain.stages[0].objective[0]
    assert cifar.stages[0].optim == plain.stages[0].optim


def test_marked_rows_are_the_plain_ones_with_autoaugment_and_mixup() -> None:
    for number, column, policy in ((5, "cifar10-lt-50", "cifar10"), (3, "imagenet-lt-resnext50", "imagenet")):
        for variant in ("paper", "official"):
            marked = table(f"table{number}").recipe("reslt-strong", column, variant)
            plain = table(f"table{number}").recipe("reslt", column, variant)
            assert marked.data.auto_augment == policy
            assert marked.hash == dataclasses.replace(strong(plain), name="other").hash


@pytest.mark.slow
@pytest.mark.parametrize("name", ["reslt/table5/reslt-strong", "reslt/table5/reslt-3-experts-official", "ce-strong"])
def test_the_others_train(name: str, tmp_path: Path) -> None:
    recipe = tiny_recipe(name)
    recipe = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, imbalance_factor=10.0))
    folder = train(recipe, tmp_path / "run")
    assert json.loads((folder / "result.json").read_text())["finished"]
