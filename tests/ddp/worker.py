"""One of two processes: the loss, the gradients and one optimiser step of a global batch, and then a short run."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import torch

from tailwise.data.plan import make_plan
from tailwise.data.resident import ResidentSource
from tailwise.engine.optim import make_optimizer
from tailwise.engine.prepare import prepare
from tailwise.engine.recipe import Recipe, Stream
from tailwise.engine.runtime import Runtime
from tailwise.engine.task import Task
from tailwise.engine.train import train
from tailwise.losses.balanced_softmax import BalancedSoftmax
from tailwise.objectives.classification import Classification
from tailwise.samplers.power import Power
from tests.helpers import tiny_recipe


def recipe_without_batch_statistics() -> Recipe:
    """Two streams and two objectives; BatchNorm in evaluation mode, whose statistics are per process by design."""
    recipe = tiny_recipe(epochs=1)
    stage = dataclasses.replace(
        recipe.stages[0],
        streams={"main": Stream(batch=32), "balanced": Stream(sampler=Power(q=0.0), batch=8)},
        objective=(Classification(loss=BalancedSoftmax()), Classification(stream="balanced", weight=0.5)),
    )
    return dataclasses.replace(recipe, stages=(stage,))


def one_step(runtime: Runtime) -> dict[str, torch.Tensor]:
    """Loss, gradients and weights after one step on the first row of a plan."""
    recipe = recipe_without_batch_statistics()
    (stage,) = recipe.stages
    prepared = prepare(recipe.data, runtime.device, lambda line: None)
    index = prepared.index
    plan = make_plan(
        stage, recipe.data, index.labels, index.stats, seed=0, stage_number=0, epoch=0, progress=0.0, steps=1
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


def main(folder: Path) -> None:
    runtime = Runtime("cpu", "fp32")
    found = one_step(runtime)
    torch.save(found, folder / f"world{runtime.world}-rank{runtime.rank}.pt")
    train(tiny_recipe(), folder / f"run-world{runtime.world}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
