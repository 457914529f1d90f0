"""The slots that no method of ours fills yet: a mix, a view, a feature augmentation and several streams in one step."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from tailwise.augment.base import Draws, FeatureAug, Mix, View
from tailwise.core.spec import frozen
from tailwise.core.stats import ClassStats
from tailwise.core.types import MixedTarget, Target
from tailwise.data.plan import make_plan
from tailwise.data.resident import ResidentSource
from tailwise.engine.recipe import Backbone, Data, Optim, Recipe, Stage, Stream
from tailwise.engine.task import Task
from tailwise.engine.train import train
from tailwise.heads.base import Head, HeadModule
from tailwise.losses.cross_entropy import CrossEntropy
from tailwise.objectives.classification import Classification
from tailwise.samplers.power import Power
from tests.helpers import metrics_of, tiny_recipe


@frozen
class Blend(Mix):
    """Mixes each image with another one of the batch."""

    name: ClassVar[str] = "blend"

    def draw(self, rng: np.random.Generator, steps: int, batch: int) -> Draws:
        pairs = np.stack([rng.permutation(batch) for _ in range(steps)])
        return {"pair": pairs, "lam": rng.random((steps, batch)).astype(np.float32)}

    def __call__(self, image: Tensor, label: Tensor, row: Mapping[str, Tensor]) -> tuple[Tensor, Target]:
        lam = row["lam"].view(-1, 1, 1, 1)
        return lam * image + (1 - lam) * image[row["pair"]], MixedTarget(label, label[row["pair"]], row["lam"])


@frozen
class Upside(View):
    """Every second image upside down, with that as label."""

    name: ClassVar[str] = "upside"
    stream: ClassVar[str] = "upside"

    def draw(self, rng: np.random.Generator, steps: int, batch: int) -> Draws:
        return {"turned": rng.integers(0, 2, (steps, batch))}

    def __call__(self, image: Tensor, row: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        turned = row["turned"]
        return torch.where(turned.bool().view(-1, 1, 1, 1), image.flip(2), image), turned


@frozen
class Scale(FeatureAug):
    """Multiplies the maps by a number per sample."""

    name: ClassVar[str] = "scale"

    def draw(self, rng: np.random.Generator, steps: int, batch: int) -> Draws:
        return {"factor": rng.random((steps, 1)).astype(np.float32)}

    def __call__(
        self, maps: Tensor, targets: Mapping[str, Target], classifier_weight: Tensor, row: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, Target]]:
        assert classifier_weight.shape == (4, maps.shape[1])
        return maps * row["factor"], dict(targets)


class TwoHeads(HeadModule):
    """A main head and one for the view."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.main, self.side = nn.Linear(features, classes), nn.Linear(features, 2)

    def forward(self, maps: Tensor) -> dict[str, Tensor]:
        pooled = self.pool(maps)
        return {"main": self.main(pooled), "side": self.side(pooled)}

    @property
    def names(self) -> tuple[str, ...]:
        return ("main", "side")

    @property
    def classifier_weight(self) -> Tensor:
        return self.main.weight


@frozen
class Two(Head):
    """Builds both."""

    name: ClassVar[str] = "two"

    def build(self, num_features: int, num_classes: int, stats: ClassStats | None = None) -> HeadModule:
        return TwoHeads(num_features, num_classes)


RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (40, 3, 8, 8), dtype=np.uint8)
LABELS = np.repeat(np.arange(4), 10)
STATS = ClassStats([10] * 4)


def recipe_with_everything() -> Recipe:
    stage = Stage(
        epochs=1,
        streams={"main": Stream(batch=8), "balanced": Stream(sampler=Power(q=0.0), batch=4)},
        mix=Blend(),
        views=(Upside(),),
        feature_aug=Scale(),
        objective=(
            Classification(weight=0.5),
            Classification(stream="balanced", loss=CrossEntropy(smoothing=0.1)),
        ),
        optim=Optim(),
    )
    return Recipe(data=Data(image_size=8), backbone=Backbone(name="resnet20", width=0.25), head=Two(), stages=(stage,))


def batch_and_task() -> tuple[dict[str, dict[str, Tensor]], Task, Recipe]:
    recipe = recipe_with_everything()
    (stage,) = recipe.stages
    plan = make_plan(stage, recipe.data, LABELS, STATS, seed=0, stage_number=0, epoch=0, progress=0.0, steps=2)
    torch.manual_seed(0)
    task = Task(recipe, STATS)
    task.enter(stage)
    batch = next(ResidentSource(IMAGES, LABELS, torch.device("cpu")).batches(plan))
    return batch, task, recipe


def test_one_forward_fills_every_slot_and_weighs_every_part() -> None:
    batch, task, recipe = batch_and_task()
    assert set(batch) == {"main", "balanced", "mix", "upside", "feature_aug"}
    output = task(batch)
    first, second = output["parts"].values()
    assert list(output["parts"]) == ["main/cross_entropy", "balanced/cross_entropy"]
    torch.testing.assert_close(output["loss"], first + second)

    # the same by hand
    network = task.network
    main = network.pixel(batch["main"]["image"], batch["main"]["crop"], batch["main"]["flip"])
    main, target = Blend()(main, batch["main"]["label"], batch["mix"])
    balanced = network.pixel(batch["balanced"]["image"], batch["balanced"]["crop"], batch["balanced"]["flip"])
    both = torch.cat([main, balanced])
    turned, _ = Upside()(both, batch["upside"])
    again = Task(recipe, STATS)
    again.load_state_dict(task.state_dict(), strict=False)
    maps = again.network.maps(torch.cat([both, turned])) * batch["feature_aug"]["factor"]
    logits = again.network.head(maps)["main"].double()
    assert isinstance(target, MixedTarget)
    logp = logits[:8].log_softmax(1)
    rows = torch.arange(8)
    by_hand = -(target.lam * logp[rows, target.first] + (1 - target.lam) * logp[rows, target.second]).mean()
    torch.testing.assert_close(first.double(), 0.5 * by_hand, rtol=1e-4, atol=1e-5)


def test_the_step_is_one_graph() -> None:
    batch, task, _ = batch_and_task()
    compiled = torch.compile(task, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(batch)["loss"], batch_and_task()[1](batch)["loss"], rtol=1e-4, atol=1e-5)


def test_two_streams_train_and_both_parts_are_logged(tmp_path: Path) -> None:
    recipe = tiny_recipe()
    stage = dataclasses.replace(
        recipe.stages[0],
        streams={"main": Stream(batch=32), "balanced": Stream(sampler=Power(q=0.0), batch=16)},
        objective=(Classification(), Classification(stream="balanced", weight=0.5)),
    )
    run = train(dataclasses.replace(recipe, stages=(stage,)), tmp_path / "run")
    epoch = next(line for line in metrics_of(run) if line["event"] == "epoch")
    assert set(epoch["parts"]) == {"main/cross_entropy", "balanced/cross_entropy"}
    assert abs(sum(epoch["parts"].values()) - epoch["loss"]) < 1e-5
    assert json.loads((run / "result.json").read_text())["finished"]
