"""The loss, the gradients and one optimiser step of a global batch, for every kind of objective, and a short run; on
however many processes there are.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, distributed
from torch.utils.data import DataLoader, TensorDataset

from tailwise.augment.base import Draws, Mix, View
from tailwise.core.registry import REGISTRY
from tailwise.core.spec import frozen
from tailwise.core.stats import ClassStats
from tailwise.core.types import MixedTarget, Target
from tailwise.data.plan import Facts, make_plan
from tailwise.data.resident import ResidentSource
from tailwise.engine.optim import make_optimizer
from tailwise.engine.prepare import Prepared, prepare
from tailwise.engine.recipe import Recipe, Stream
from tailwise.engine.runtime import Runtime
from tailwise.engine.task import Task
from tailwise.engine.train import train
from tailwise.heads.base import Head
from tailwise.objectives.base import Objective
from tailwise.objectives.classification import Classification
from tailwise.recipes.auxiliary import class_balanced, with_auxiliary
from tailwise.recipes.feature_space import feature_space
from tailwise.samplers.power import Power
from tailwise.samplers.torch_sampler import EpochSampler
from tests.helpers import tiny_recipe

#: For draws that depend on what is found out when a stage begins; images of 8 x 8 pixels have maps of 2 x 2.
FACTS = Facts(np.array([[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]]), 4)


@frozen
class TwoLabels(Mix):
    """Leaves the images and gives each a share of the next class, so that no image needs one of another process."""

    name: ClassVar[str] = "two_labels"

    def draw(self, rng: np.random.Generator, steps: int, batch: int) -> Draws:
        return {"lam": rng.random((steps, batch))}

    def __call__(self, image: Tensor, label: Tensor, row: Mapping[str, Tensor]) -> tuple[Tensor, Target]:
        return image, MixedTarget(label, (label + 1) % 4, row["lam"].to(image.dtype))


def recipe_of(*objectives: Objective, mix: Mix | None = None) -> Recipe:
    """What the objectives read: a second stream of class-balanced images, a registered view, a registered head."""
    recipe = tiny_recipe(epochs=1)
    streams, views = {"main": Stream(batch=32)}, dict[str, View]()
    for name in dict.fromkeys(name for objective in objectives for name in objective.streams):
        view = next((entry.target() for entry in REGISTRY.entries("views") if entry.target.stream == name), None)
        if view is not None:
            views[name] = view
        elif name != "main":
            streams[name] = Stream(sampler=Power(q=0.0), batch=8)
    stage = dataclasses.replace(
        recipe.stages[0], streams=streams, views=tuple(views.values()), objective=objectives, mix=mix
    )
    data = dataclasses.replace(recipe.data, imbalance_factor=10.0)
    heads = {name for objective in objectives for name in objective.heads}
    return dataclasses.replace(recipe, data=data, head=_head_with(heads), stages=(stage,))


def fused() -> Recipe:
    """Feature space augmentation after a short Phase I, with 4 tail images a step."""
    recipe = tiny_recipe(epochs=1)
    data = dataclasses.replace(recipe.data, imbalance_factor=10.0)
    return feature_space(dataclasses.replace(recipe, data=data), tail_images=4, steps=2)


def _head_with(names: set[str]) -> Head:
    heads: list[Head] = [recipe_head for entry in REGISTRY.entries("heads") if (recipe_head := _default(entry.target))]
    heads.sort(key=lambda head: head.name != "linear")
    return next(head for head in heads if names <= set(head.build(12, 4, ClassStats([40, 20, 10, 4])).names))


def _default(target: Any) -> Any:
    try:
        return target()
    except TypeError:
        return None  # it has a hyper-parameter without a default


def cases() -> dict[str, Recipe]:
    """Every registered objective, and the classification objective with every registered loss and reduction."""
    found = {f"objective {name}": recipe_of(REGISTRY.make("objectives", name)) for name in REGISTRY.names("objectives")}
    reductions: Sequence[Any] = typing.get_args(typing.get_type_hints(Classification)["reduction"])
    for entry in REGISTRY.entries("losses"):
        loss = _default(entry.target)
        for reduction in reductions if loss is not None else ():
            found[f"loss {entry.name}, {reduction}"] = recipe_of(Classification(loss=loss, reduction=reduction))
    weighted = Classification(loss=REGISTRY.make("losses", "cost_sensitive"), reduction="weighted_mean")
    second = Classification(stream="balanced", weight=0.5)
    found["two streams"] = recipe_of(weighted, second)
    found["auxiliary tasks"] = with_auxiliary(class_balanced(recipe_of(Classification())), weights=(0.5, 1.0, 1.0))
    found["mixed targets"] = recipe_of(weighted, mix=TwoLabels())
    found["mixed targets and two streams"] = recipe_of(weighted, second, mix=TwoLabels())
    found["fused features"] = dataclasses.replace(fused(), stages=fused().stages[1:])
    return found


def one_step(runtime: Runtime, recipe: Recipe, prepared: Prepared) -> dict[str, Tensor]:
    """Loss, gradients and weights after one step on the first row of a plan.

    BatchNorm is in evaluation mode: its statistics in training mode are those of a process, by design.
    """
    (stage,) = recipe.stages
    index = prepared.index
    plan = make_plan(
        stage,
        recipe.data,
        index.labels,
        index.stats,
        seed=0,
        stage_number=0,
        epoch=0,
        progress=0.0,
        steps=1,
        facts=FACTS,
    ).rank_slice(runtime.rank, runtime.world)
    assert prepared.train_images is not None
    (batch,) = ResidentSource(prepared.train_images, index.labels, runtime.device).batches(plan)
    torch.manual_seed(0)
    task = Task(recipe, index.stats, runtime.sum, runtime.world)
    task.enter(stage)
    assert stage.optim is not None
    optimizer = make_optimizer(stage.optim, task.network.parameters())
    wrapped, wrapped_optimizer = runtime.setup(task, optimizer)
    task.network.eval()
    output = wrapped(batch)
    runtime.backward(output["loss"])
    found = {"loss": runtime.sum(output["total"]), "hits": runtime.sum(output["hits"])}
    found |= {
        f"grad.{name}": item.grad.clone() for name, item in task.network.named_parameters() if item.grad is not None
    }
    wrapped_optimizer.step()
    return found | {f"weight.{name}": item.detach().clone() for name, item in task.network.named_parameters()}


def sampled_batches() -> dict[str, Tensor]:
    """What a plain loader shows this process, rank and world taken from the process group; global batches of 8."""
    labels = np.repeat([0, 1, 2], [60, 15, 5])
    sampler = EpochSampler(Power(q=0.0), labels, seed=1)
    world = distributed.get_world_size() if distributed.is_initialized() else 1
    loader = DataLoader(TensorDataset(torch.arange(80)), batch_size=8 // world, sampler=sampler)
    found: dict[str, Tensor] = {}
    for epoch in range(2):
        sampler.set_epoch(epoch)
        found[f"epoch {epoch}"] = torch.stack([positions for (positions,) in loader])
    return found


def main(folder: Path) -> None:
    # In float64 the order of a sum does not matter, so that a wrong factor cannot hide in the tolerance.
    runtime = Runtime("cpu", "fp64", strategy="ddp_find_unused_parameters_true")
    wanted = cases()
    prepared = prepare(next(iter(wanted.values())).data, runtime.device, lambda line: None)
    found: dict[str, dict[str, Tensor]] = {}
    for name, recipe in wanted.items():
        try:
            found[name] = one_step(runtime, recipe, prepared)
        except Exception as error:
            error.add_note(f"in the case {name!r} of tests/ddp/equality.py")
            raise
    found["sampler"] = sampled_batches()
    torch.save(found, folder / f"world{runtime.world}-rank{runtime.rank}.pt")
    train(tiny_recipe(), folder / f"run-world{runtime.world}")
    train(fused(), folder / f"fused-world{runtime.world}")
