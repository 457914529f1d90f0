"""Auxiliary tasks for any recipe: what is added, what is left alone, and what is refused."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from tailwise.augment.mixup import Mixup
from tailwise.augment.rotation import Rotation
from tailwise.core.registry import REGISTRY
from tailwise.core.spec import from_yaml, to_yaml
from tailwise.core.stats import ClassStats
from tailwise.engine.recipe import Recipe, Stage, Stream
from tailwise.engine.task import Task
from tailwise.engine.trainable import select_trainable
from tailwise.heads import LWS, Multi
from tailwise.objectives import Pretext, Scaled
from tailwise.recipes.auxiliary import Weights, class_balanced, fine_tuned, with_auxiliary
from tailwise.recipes.base import base_recipe, make_recipe, replace_stage, replace_stream
from tailwise.samplers import PerClass, Power

BASE = base_recipe("digits")
STATS = ClassStats([100, 60, 40, 30, 20, 14, 10, 6, 4, 2])
RECIPES = [
    name
    for name in REGISTRY.names("recipes")
    if not any(view.stream == "rotation" for stage in make_recipe(name, BASE).stages for view in stage.views)
    and not any("auxiliary" in stage.streams for stage in make_recipe(name, BASE).stages)
]


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_can_have_an_auxiliary_task(name: str) -> None:
    plain = make_recipe(name, BASE)
    recipe = with_auxiliary(plain)
    assert from_yaml(Recipe, to_yaml(recipe), "") == recipe
    with torch.device("meta"):
        task = Task(recipe, STATS)
        bare = Task(plain, STATS)
    for before, stage in zip(plain.stages, recipe.stages, strict=True):
        task.check(stage)
        task.enter(stage)
        added = "auxiliary" in stage.streams
        assert {item: stage.streams[item] for item in before.streams} == before.streams
        select_trainable(task.network, stage)
        select_trainable(bare.network, before)
        trained = {item for item, value in task.network.named_parameters() if value.requires_grad}
        own = {
            item.replace("head.", "head.main.")
            for item, value in bare.network.named_parameters()
            if value.requires_grad
        }
        extra = {"head.extra.auxiliary.weight", "head.extra.auxiliary.bias"} if added else set[str]()
        assert trained == own | extra
    assert any("auxiliary" in stage.streams for stage in recipe.stages)


def test_what_the_paper_has() -> None:
    recipe = make_recipe("cbs-rrs-ss", BASE)
    (stage,) = recipe.stages
    assert {name: type(stream.sampler) for name, stream in stage.streams.items()} == {
        "main": PerClass,
        "auxiliary": Power,
    }
    assert {stream.batch for stream in stage.streams.values()} == {64}
    assert stage.views == (Rotation(),)
    weights = [(part.heads, part.streams, getattr(part, "weight", None)) for part in stage.objective]
    assert weights == [
        (("main",), ("main",), 0.5),
        (("auxiliary",), ("auxiliary",), 1.0),
        (("rotation",), ("rotation",), 1.0),
    ]
    assert recipe.head == Multi(rotation=True)
    steps = {
        name: make_recipe(name, BASE).stages[0].images_per_step for name in ("ce", "cbs-only", "cbs-rrs", "cbs-rrs-ss")
    }
    assert steps == {"ce": 64, "cbs-only": 64, "cbs-rrs": 128, "cbs-rrs-ss": 256}


def test_a_task_of_weight_zero_is_left_out() -> None:
    recipe = with_auxiliary(BASE, weights=(1.0, 0.0, 2.0), rotation=Rotation(forward="joint"))
    assert recipe.head == Multi(auxiliary=False, rotation=True)
    assert list(recipe.stages[0].streams) == ["main"]
    assert recipe.stages[0].views == (Rotation(forward="joint"),)
    assert len(recipe.stages[0].objective) == 2


def test_only_the_chosen_stages_get_the_tasks() -> None:
    two = make_recipe("drs", BASE)
    recipe = with_auxiliary(two, stages=[1])
    assert [("auxiliary" in stage.streams) for stage in recipe.stages] == [False, True]
    assert with_auxiliary(make_recipe("lws", BASE)).head == Multi(main=LWS())


def test_a_layer_in_between_is_kept() -> None:
    base = dataclasses.replace(BASE, head=Multi(auxiliary=False, hidden=32))
    assert with_auxiliary(base).head == Multi(hidden=32)
    assert with_auxiliary(base, hidden=16).head == Multi(hidden=16)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ((0.0, 0.0, 0.0), "one weight at least must be above 0, got main 0, auxiliary 0, rotation 0"),
        ((0.5, -1.0, 1.0), "weights of tasks must be finite and at least 0, got main 0.5, auxiliary -1, rotation 1"),
        (
            (0.5, math.nan, 1.0),
            "weights of tasks must be finite and at least 0, got main 0.5, auxiliary nan, rotation 1",
        ),
        (
            (0.0, 1.0, 0.0),
            "the weight of the main task must be above 0, because its head is the one that predicts, got main 0, "
            "auxiliary 1, rotation 0; to train under regular sampling alone, take the recipe ce",
        ),
        (
            (1.0, 0.0, 0.0),
            "one auxiliary task at least needs a weight above 0, got main 1, auxiliary 0, rotation 0; without, take "
            "the recipe",
        ),
    ],
)
def test_messages_for_weights(weights: Weights, message: str) -> None:
    with pytest.raises(ValueError) as error:
        with_auxiliary(BASE, weights=weights)
    assert str(error.value) == message


def test_an_objective_without_a_weight_is_scaled_all_the_same() -> None:
    base = replace_stage(BASE, 0, objective=(Pretext(weight=3.0),))
    objective = with_auxiliary(base).stages[0].objective[0]
    assert objective == Scaled(objective=Pretext(weight=3.0), factor=0.5)
    logits, label = torch.randn(6, 10), torch.arange(6)
    arguments = ({"main": logits}, {"main": label}, {"main": (0, 6)})
    (plain,), (scaled,) = (item.bind(STATS)(*arguments).values() for item in (Pretext(weight=3.0), objective))
    assert scaled == plain._replace(weight=1.5)
    with pytest.raises(ValueError, match="factor must be at least 0, got -1"):
        Scaled(factor=-1)
    with pytest.raises(ValueError, match="weight must be at least 0, got -1"):
        Pretext(weight=-1)


def test_messages_for_recipes_that_do_not_go_with_the_tasks() -> None:
    mixing = replace_stage(BASE, 0, mix=Mixup())
    assert with_auxiliary(mixing).stages[0].mix == Mixup()
    with pytest.raises(ValueError) as mixed:
        with_auxiliary(mixing, weights=(0.5, 1.0, 1.0))
    assert str(mixed.value) == (
        "stage 0 mixes its images or features (mixup), whose turned copies would be mixtures too; rotation is a task "
        "for plain images: give it weight 0, or take away the mixing"
    )
    with pytest.raises(ValueError, match="stage 0 has a stream named 'auxiliary' already"):
        with_auxiliary(make_recipe("cbs-rrs", BASE))
    with pytest.raises(ValueError, match="stage 1 trains 'head' only; auxiliary tasks shape the backbone"):
        with_auxiliary(make_recipe("crt", BASE), stages=[1])
    with pytest.raises(ValueError, match="there is no stage 3; the recipe has 2, counted from 0"):
        with_auxiliary(make_recipe("crt", BASE), stages=[3])
    with pytest.raises(ValueError, match="no stage trains the backbone"):
        with_auxiliary(replace_stage(BASE, 0, trainable="head"))
    with pytest.raises(ValueError, match="expected a recipe with one stage, got 2 stages"):
        fine_tuned(make_recipe("drs", BASE))
    turned = replace_stream(BASE, 0, four_turns=True)
    with pytest.raises(ValueError, match="stream 'main' shows four turns of its images, which goes with no view"):
        with_auxiliary(turned, weights=(0.5, 1.0, 1.0))


def test_messages_of_a_stage() -> None:
    with pytest.raises(ValueError, match="streams and views need a name each, got main, rotation, rotation"):
        Stage(streams={"main": Stream(), "rotation": Stream()}, views=(Rotation(),))


def test_the_stage_wise_recipe_has_a_third_of_the_epochs_and_a_tenth_of_the_rate() -> None:
    first, second = make_recipe("ft-rrs-cbs", BASE).stages
    assert first == BASE.stages[0]
    assert (second.epochs, second.reset) == (20, ("head",))
    assert second.streams["main"].sampler == PerClass(images_per_class=None)
    assert first.optim is not None
    assert second.optim is not None
    assert second.optim.lr == first.optim.lr / 10


def test_new_fields_leave_the_hashes_of_other_recipes_alone() -> None:
    assert BASE.hash == "a810dfcf7f9f"
    assert class_balanced(BASE).hash != BASE.hash
