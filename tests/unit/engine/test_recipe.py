from __future__ import annotations

import dataclasses

import pytest

from tailwise.core.errors import RunError, TailwiseError
from tailwise.data.plan import check_batches, steps_per_epoch
from tailwise.engine.recipe import Optim, Recipe, Stage, Stream
from tailwise.engine.rescale import with_epochs
from tailwise.engine.schedule import MultiStep
from tailwise.recipes.base import base_recipe, make_recipe


def test_fewer_epochs_keep_the_shape_of_the_schedule() -> None:
    recipe = with_epochs(base_recipe("cifar10"), 20)
    assert recipe.epochs == 20
    optim = recipe.stages[0].optim
    assert optim is not None
    assert optim.schedule == MultiStep(milestones=(16, 18), gamma=0.01, warmup_epochs=0)


@pytest.mark.parametrize("epochs", [2, 3, 7, 100, 401])
def test_stages_are_rescaled_in_proportion_and_sum_up(epochs: int) -> None:
    recipe = Recipe(stages=(Stage(epochs=160, optim=Optim()), Stage(epochs=40)))
    scaled = with_epochs(recipe, epochs)
    assert scaled.epochs == epochs
    assert min(stage.epochs for stage in scaled.stages) >= 1
    assert abs(scaled.stages[0].epochs - 0.8 * epochs) <= 1


def test_fewer_epochs_than_stages_are_refused() -> None:
    recipe = Recipe(stages=(Stage(epochs=160, optim=Optim()), Stage(epochs=40)))
    with pytest.raises(TailwiseError, match="2 stages"):
        with_epochs(recipe, 1)
    with pytest.raises(TailwiseError, match="steps"):
        with_epochs(Recipe(stages=(Stage(steps=5, optim=Optim()),)), 3)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Recipe(stages=()), "at least one stage"),
        (lambda: Recipe(stages=(Stage(),)), "first stage needs an optim"),
        (lambda: Recipe(stages=(Stage(optim=Optim()), Stage(reset=("head",)))), "needs an optim"),
        (lambda: Stage(epochs=0), "epochs must be at least 1, got 0"),
        (lambda: Stage(streams={"mix": Stream()}), "stream's name"),
        (lambda: Stage(streams={}), "at least one stream"),
        (lambda: Stage(objective=()), "at least one objective"),
        (lambda: Stage(trainable="("), "regular expression"),
        (lambda: Optim(lr=0.0), "lr must be above 0"),
        (lambda: Optim(lr=float("nan")), "lr must be above 0"),
    ],
)
def test_impossible_recipes_are_refused(build: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()  # pyright: ignore


def test_cifar_settings_are_the_printed_ones() -> None:
    recipe = make_recipe("ce", base_recipe("cifar10"))
    stage, optim = recipe.stages[0], recipe.stages[0].optim
    assert optim is not None
    assert (stage.epochs, stage.streams["main"].batch, recipe.backbone.name) == (200, 128, "resnet32")
    assert (optim.lr, optim.momentum, optim.nesterov, optim.weight_decay) == (0.1, 0.9, True, 2e-4)
    assert recipe.data.imbalance_factor == 100
    assert [steps_per_epoch(stage, n) for n in (12406, 13996, 10847, 12608)] == [96, 109, 84, 98]
    kept = dataclasses.replace(stage, last_batch="fill")
    assert [steps_per_epoch(kept, n) for n in (12406, 13996, 10847, 12608)] == [97, 110, 85, 99]


def test_a_batch_that_processes_cannot_share_is_refused_with_the_nearest() -> None:
    stage = Stage(streams={"main": Stream(batch=128)})
    check_batches(stage, 4)
    with pytest.raises(RunError, match="nearest batch that works is 129"):
        check_batches(stage, 3)
