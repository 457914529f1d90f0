"""Mixes and manifold mixup inside a training step: by hand, over stages, in stacks, and where they are refused."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tailwise.augment import CutMix, FeatureAug, ManifoldMixup, Mix, Mixup, Remix
from tailwise.core.errors import TailwiseError, UnknownName
from tailwise.core.spec import frozen
from tailwise.core.stats import ClassStats
from tailwise.core.types import Part, Target
from tailwise.data.plan import make_plan
from tailwise.data.resident import ResidentSource
from tailwise.engine.recipe import Backbone, Data, Optim, Recipe, Stage, Stream
from tailwise.engine.stack import Stack, why_not_stacked
from tailwise.engine.task import Task
from tailwise.engine.train import train, train_many
from tailwise.heads.base import Head
from tailwise.heads.cosine import Cosine
from tailwise.heads.linear import Linear, LinearModule
from tailwise.models.resnet_cifar import ResNetCifar
from tailwise.objectives.base import BoundObjective
from tailwise.objectives.classification import Classification
from tailwise.recipes.base import replace_stage
from tailwise.samplers.power import Power
from tests.helpers import metrics_of, tiny_recipe, weights_of

RNG = np.random.default_rng(0)
COUNTS = [20, 10, 6, 4]
IMAGES = RNG.integers(0, 256, (40, 3, 8, 8), dtype=np.uint8)
LABELS = RNG.permutation(np.repeat(np.arange(4), COUNTS))
STATS = ClassStats(COUNTS)
Batch = dict[str, dict[str, Tensor]]


def recipe_of(stage: Stage, head: Head | None = None) -> Recipe:
    network = Backbone(name="resnet20", width=0.25)
    return Recipe(data=Data(image_size=8), backbone=network, head=head or Linear(), stages=(stage,))


def stage_of(mix: Mix | None = None, feature_aug: FeatureAug | None = None, **changes: Any) -> Stage:
    return Stage(
        **{
            "epochs": 1,
            "streams": {"main": Stream(batch=8)},
            "mix": mix,
            "feature_aug": feature_aug,
            "optim": Optim(),
            **changes,
        }
    )


def task_of(recipe: Recipe, seed: int = 0) -> tuple[Task, Batch]:
    """A task in float64 in its stage, and its first batch."""
    (stage,) = recipe.stages
    plan = make_plan(stage, recipe.data, LABELS, STATS, seed=seed, stage_number=0, epoch=0, progress=0.0, steps=2)
    torch.manual_seed(seed)
    task = Task(recipe, STATS)
    task.check(stage)
    task.enter(stage)
    batch = next(ResidentSource(IMAGES, LABELS, torch.device("cpu")).batches(plan))
    return task.double(), batch


def by_hand(task: Task, batch: Batch, layer: str) -> Tensor:
    """The loss of manifold mixup with one stream, layer by layer."""
    network, row = task.network, batch["feature_aug"]
    backbone, head = network.backbone, network.head
    assert isinstance(backbone, ResNetCifar)
    assert isinstance(head, LinearModule)
    lam, numbers = float(row["lam"]), row["order"].tolist()
    partner = [numbers.index(value) for value in range(8)]

    def turn(name: str, x: Tensor) -> Tensor:
        return lam * x + (1 - lam) * x[partner] if name == layer else x

    x = turn("input", network.pixel.augment(batch["main"]))
    x = F.relu(backbone.bn1(backbone.conv1(x)))
    for number, stage in enumerate((backbone.stage1, backbone.stage2, backbone.stage3), 1):
        x = turn(f"layer{number}", stage(x))
    logits = turn("fc", head.fc(turn("pool", x.mean((2, 3)))))
    label = batch["main"]["label"]
    return lam * F.cross_entropy(logits, label) + (1 - lam) * F.cross_entropy(logits, label[partner])


@pytest.mark.parametrize("layer", ["input", "layer1", "layer2", "layer3", "pool", "fc"])
def test_manifold_mixup_is_what_it_says_at_every_layer(layer: str) -> None:
    task, batch = task_of(recipe_of(stage_of(feature_aug=ManifoldMixup(layer=layer))))
    assert task.entered == ((layer,) if layer.startswith("layer") else ())
    torch.testing.assert_close(task(batch)["loss"], by_hand(task, batch, layer), rtol=1e-6, atol=1e-7)


def test_of_several_layers_only_the_drawn_one_is_mixed() -> None:
    task, batch = task_of(recipe_of(stage_of(feature_aug=ManifoldMixup(layer=("input", "layer2", "pool", "fc")))))
    for number, layer in enumerate(("input", "layer2", "pool", "fc")):
        batch["feature_aug"]["layer"] = torch.tensor(number)
        torch.testing.assert_close(task(batch)["loss"], by_hand(task, batch, layer), rtol=1e-6, atol=1e-7)


def test_a_linear_head_cannot_tell_the_last_three_layers_apart_and_a_cosine_head_can() -> None:
    for head, apart in ((Linear(), False), (Cosine(), True)):
        losses: list[float] = []
        for layer in ("layer3", "pool", "fc"):
            task, batch = task_of(recipe_of(stage_of(feature_aug=ManifoldMixup(layer=layer)), head))
            losses.append(float(task(batch)["total"]))
        assert losses[0] == pytest.approx(losses[1], rel=1e-9)
        assert (abs(losses[1] - losses[2]) > 1e-3) == apart


def test_the_loss_of_mixed_images_weighs_both_labels() -> None:
    for mix in (Mixup(), Mixup(per="sample"), CutMix(), Remix()):
        task, batch = task_of(recipe_of(stage_of(mix)))
        plain = task.network.pixel.augment(batch["main"])
        image, target = mix.bind(STATS)(plain, batch["main"]["label"], batch["mix"])
        logits = task.network.head(task.network.maps(image))["main"]
        parts = [
            float(target.lam[i]) * F.cross_entropy(logits[i], target.first[i])
            + (1 - float(target.lam[i])) * F.cross_entropy(logits[i], target.second[i])
            for i in range(8)
        ]
        torch.testing.assert_close(task(batch)["loss"], torch.stack(parts).mean(), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("mix", "aug"), [(Remix(per="sample"), None), (None, ManifoldMixup(layer=("input", "layer1", "pool", "fc")))]
)
def test_the_step_is_one_graph(mix: Mix | None, aug: FeatureAug | None) -> None:
    recipe = recipe_of(stage_of(mix, aug))
    (task, batch), (twin, _) = task_of(recipe), task_of(recipe)
    torch.compiler.reset()
    compiled = torch.compile(task, fullgraph=True, backend="aot_eager")
    for model in (compiled, twin):
        model(batch)["loss"].backward()
    for mine, expected in zip(task.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, expected.grad, rtol=1e-6, atol=1e-9)


def test_a_stack_computes_what_its_tasks_compute_alone() -> None:
    augs = (
        ManifoldMixup(layer="layer1"),
        None,
        ManifoldMixup(layer=("input", "layer2", "pool"), per="sample"),
        ManifoldMixup(layer="fc"),
    )
    recipes = [recipe_of(stage_of(Mixup() if aug is None else None, aug)) for aug in augs]
    alone = [task_of(recipe, seed) for seed, recipe in enumerate(recipes)]
    expected = [task(batch) for task, batch in alone]
    for outcome in expected:
        outcome["loss"].backward()
    pairs = [task_of(recipe, seed) for seed, recipe in enumerate(recipes)]
    tasks, batches = [task for task, _ in pairs], [batch for _, batch in pairs]
    assert why_not_stacked(tasks) is None
    stack = Stack(tasks, channels_last=True)
    assert stack.entered == {"layer1", "layer2"}
    outcomes = stack(batches)
    torch.stack([outcome["loss"] for outcome in outcomes]).sum().backward()
    stack.backbone.share_gradients()
    for (own, _), task, outcome, single in zip(alone, tasks, outcomes, expected, strict=True):
        torch.testing.assert_close(outcome["loss"], single["loss"], rtol=1e-9, atol=1e-9)
        assert int(outcome["hits"]) == int(single["hits"])
        for (name, mine), reference in zip(task.network.named_parameters(), own.network.parameters(), strict=True):
            torch.testing.assert_close(mine.grad, reference.grad, rtol=1e-6, atol=1e-9, msg=name)


@pytest.mark.slow
def test_runs_with_other_mixes_train_side_by_side_as_alone(tmp_path: Path) -> None:
    base = dataclasses.replace(tiny_recipe(epochs=1, at_once=3), precision="fp64")
    slots: list[dict[str, Any]] = [
        {"mix": Remix(kappa=1.0)},
        {"feature_aug": ManifoldMixup(layer="layer2")},
        {"feature_aug": ManifoldMixup(layer=("input", "layer1", "pool"))},
    ]
    recipes = [replace_stage(base, 0, **slot) for slot in slots]
    outcomes = train_many(recipes, [tmp_path / f"stack{number}" for number in range(3)])
    for number, (recipe, outcome) in enumerate(zip(recipes, outcomes, strict=True)):
        together = json.loads((outcome.folder / "result.json").read_text())
        assert (together["executor"], together["at_once"]) == ("stacked", 3)
        single = train(
            dataclasses.replace(recipe, run=dataclasses.replace(recipe.run, at_once=1)), tmp_path / f"own{number}"
        )
        for name, value in weights_of(outcome.folder).items():
            torch.testing.assert_close(value, weights_of(single)[name], rtol=1e-7, atol=1e-7, msg=name)


def test_a_mix_may_come_and_go_with_the_stages(tmp_path: Path) -> None:
    recipe = tiny_recipe(epochs=1)
    (first,) = recipe.stages
    later = [dataclasses.replace(first, optim=None, mix=mix) for mix in (None, Mixup(), Remix(), None)]
    stages = (dataclasses.replace(first, mix=Remix()), *later)
    run = train(dataclasses.replace(recipe, stages=stages), tmp_path / "run")
    epochs = [line for line in metrics_of(run) if line["event"] == "epoch"]
    assert [line["stage"] for line in epochs] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("backbone", ["resnet20", "test_resnet"])
def test_a_layer_that_the_backbone_does_not_have_is_refused_before_training(tmp_path: Path, backbone: str) -> None:
    recipe = tiny_recipe(changes=(f"backbone={backbone}",) if backbone == "test_resnet" else ())
    recipe = replace_stage(recipe, 0, feature_aug=ManifoldMixup(layer="layer9"))
    with pytest.raises(UnknownName) as error:
        train(recipe, tmp_path / "run")
    known = "layer1, layer2, layer3" if backbone == "resnet20" else "act1, layer1, layer2, layer3, layer4"
    expected = sorted(["input", "pool", "fc", *known.split(", ")])
    start, _, allowed = str(error.value).partition("; allowed: ")
    assert (
        start
        == f"unknown layer of backbone {backbone!r} 'layer9'; did you mean 'layer{3 if backbone == 'resnet20' else 4}'?"
    )
    assert allowed == ", ".join(expected)
    assert not list((tmp_path / "run").glob("*.jsonl"))


def test_labels_cannot_be_mixed_twice(tmp_path: Path) -> None:
    recipe = replace_stage(tiny_recipe(), 0, mix=CutMix(), feature_aug=ManifoldMixup())
    with pytest.raises(TailwiseError) as error:
        train(recipe, tmp_path / "run")
    assert str(error.value) == (
        "a stage can mix labels once only: give it mix 'cutmix' or feature_aug 'manifold_mixup', not both"
    )


def test_two_streams_of_half_a_batch_are_dual_sampling() -> None:
    # Uniform and reversed images side by side, as in the code of zhou2020bbn without its branches: the mean over both.
    streams = {"main": Stream(batch=8), "reversed": Stream(sampler=Power(q=-1.0), batch=8)}
    objective = (Classification(weight=0.5), Classification(stream="reversed", weight=0.5))
    task, batch = task_of(recipe_of(stage_of(streams=streams, objective=objective)))
    images = torch.cat([task.network.pixel.augment(batch[name]) for name in ("main", "reversed")])
    labels = torch.cat([batch[name]["label"] for name in ("main", "reversed")])
    logits = task.network.head(task.network.maps(images))["main"]
    torch.testing.assert_close(task(batch)["loss"], F.cross_entropy(logits, labels), rtol=1e-6, atol=1e-7)


class Seen(BoundObjective):
    """Keeps the features that it gets."""

    needs_features = True
    features: Tensor | None = None

    def forward(
        self, outputs: Mapping[str, Tensor], targets: Mapping[str, Target], rows: Mapping[str, tuple[int, int]]
    ) -> dict[str, Part]:
        self.features = outputs["features"]
        return {"seen": Part(outputs["main"].square().sum(), outputs["main"].new_ones(()), 1.0)}


@frozen
class Look(Classification):
    """Builds it."""

    def bind(self, stats: ClassStats) -> BoundObjective:
        return Seen()


@pytest.mark.parametrize("aug", [None, ManifoldMixup(), ManifoldMixup(layer="fc")])
def test_objectives_that_ask_get_the_features_that_the_head_got(aug: FeatureAug | None) -> None:
    recipe = recipe_of(stage_of(feature_aug=aug, objective=(Look(),)))
    task, batch = task_of(recipe)
    head_got: list[Tensor] = []
    task.network.head.register_forward_pre_hook(lambda module, inputs: head_got.append(inputs[0]))
    task(batch)
    seen = cast(Seen, task.objectives[0]).features
    assert seen is not None
    assert seen.shape == (8, task.network.backbone.num_features)
    assert torch.equal(seen, task.network.head.pool(head_got[0]))
    pairs = [task_of(recipe, seed) for seed in range(2)]
    Stack([task for task, _ in pairs], channels_last=False)([batch for _, batch in pairs])
    stacked = cast(Seen, pairs[0][0].objectives[0]).features
    torch.testing.assert_close(stacked, seen, rtol=1e-9, atol=1e-9)


def test_features_are_not_pooled_for_objectives_that_do_not_ask() -> None:
    task, batch = task_of(recipe_of(stage_of()))
    assert not task.needs_features
    seen: list[Mapping[str, Tensor]] = []
    task.objectives[0].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    task(batch)
    assert set(seen[0]) == {"main"}
