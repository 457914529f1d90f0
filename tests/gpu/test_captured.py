"""Captured steps on a CUDA device compute what ordinary steps compute."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tailwise.core.errors import RunError
from tailwise.engine.loop import Interrupted, Loop
from tailwise.engine.recipe import Optim, Recipe
from tailwise.engine.task import Task
from tailwise.engine.train import train, train_many
from tailwise.recipes.base import replace_stage
from tests.helpers import metrics_of, tiny_recipe, weights_of

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def exact_products() -> Iterator[None]:
    """TF32 keeps ten bits of a product, too few to compare two orders of adding."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def on_gpu(recipe: Recipe, executor: str, **run: object) -> Recipe:
    return dataclasses.replace(recipe, run=dataclasses.replace(recipe.run, device="cuda", executor=executor, **run))


def losses(folder: Path) -> list[float]:
    return [line["loss"] for line in metrics_of(folder) if line["event"] == "epoch"]


def executor_of(folder: Path) -> tuple[str, int]:
    result = json.loads((folder / "result.json").read_text())
    return result["executor"], result["at_once"]


def two_stages(**changes: object) -> Recipe:
    recipe = tiny_recipe(epochs=2)
    first = recipe.stages[0]
    second = dataclasses.replace(first, epochs=1, trainable="head", optim=Optim(lr=0.05))
    return dataclasses.replace(recipe, stages=(first, second), **changes)


@pytest.mark.parametrize("ema", [None, 0.9])
@pytest.mark.parametrize("optim", [Optim(lr=0.01), Optim(kind="adamw", lr=1e-4)])
def test_captured_equals_eager(tmp_path: Path, optim: Optim, ema: float | None) -> None:
    recipe = replace_stage(two_stages(ema=ema), 0, optim=optim)
    eager = train(on_gpu(recipe, "eager"), tmp_path / "eager")
    captured = train(on_gpu(recipe, "captured"), tmp_path / "captured")
    assert executor_of(captured) == ("captured", 1)
    assert losses(captured) == pytest.approx(losses(eager), rel=1e-2)
    for name, value in weights_of(captured).items():
        torch.testing.assert_close(value, weights_of(eager)[name], rtol=5e-2, atol=5e-3)


def test_auto_captures(tmp_path: Path) -> None:
    assert executor_of(train(on_gpu(tiny_recipe(), "auto"), tmp_path / "run")) == ("captured", 1)


def test_a_captured_run_goes_on_in_mid_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = on_gpu(replace_stage(tiny_recipe(epochs=3), 0, optim=Optim(lr=0.01)), "captured")
    whole = train(recipe, tmp_path / "whole")
    original = Loop.__init__

    def with_a_stop(loop: Loop, *arguments: object) -> None:
        original(loop, *arguments)  # pyright: ignore[reportArgumentType]
        loop.stop = lambda: loop.live[0].step == 7

    with monkeypatch.context() as patch, pytest.raises(Interrupted, match="step 7 of"):
        patch.setattr(Loop, "__init__", with_a_stop)
        train(recipe, tmp_path / "cut")
    resumed = train(recipe, tmp_path / "cut", resume=True)
    assert losses(resumed) == pytest.approx(losses(whole), rel=1e-3)


@pytest.mark.parametrize(("backbone", "at_once"), [("resnet20(width=0.25)", 3), ("resnet18", 2)])
def test_runs_side_by_side_equal_runs_of_their_own(tmp_path: Path, backbone: str, at_once: int) -> None:
    base = replace_stage(tiny_recipe(changes=(f"backbone={backbone}",)), 0, optim=Optim(lr=0.005))
    recipes = [dataclasses.replace(base, seed=seed) for seed in range(at_once)]
    outcomes = train_many(
        [on_gpu(recipe, "captured", at_once=at_once) for recipe in recipes],
        [tmp_path / f"together{seed}" for seed in range(at_once)],
    )
    for recipe, outcome in zip(recipes, outcomes, strict=True):
        assert executor_of(outcome.folder) == ("captured", at_once)
        single = train(on_gpu(recipe, "eager"), tmp_path / f"own{recipe.seed}")
        assert losses(outcome.folder) == pytest.approx(losses(single), rel=1e-2)


def test_runs_side_by_side_are_chosen_by_memory(tmp_path: Path) -> None:
    recipes = [dataclasses.replace(on_gpu(tiny_recipe(), "auto"), seed=seed) for seed in range(4)]
    outcomes = train_many(recipes, [tmp_path / str(seed) for seed in range(4)])
    assert [executor_of(outcome.folder) for outcome in outcomes] == [("captured", 4)] * 4


def test_what_cannot_be_captured_runs_step_by_step_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Task.forward

    def waiting(task: Task, batch: dict[str, dict[str, torch.Tensor]]) -> dict[str, object]:
        outcome = original(task, batch)
        assert float(outcome["loss"].detach().cpu()) > 0
        return outcome

    recipe = replace_stage(tiny_recipe(), 0, optim=Optim(lr=0.01))
    eager = train(on_gpu(recipe, "eager"), tmp_path / "eager")
    monkeypatch.setattr(Task, "forward", waiting)
    said: list[str] = []

    class Listener:
        def start(self, title: str, steps: int, done: int) -> None: ...
        def update(self, done: int, epoch: str, loss: float, accuracy: float, rate: float) -> None: ...
        def line(self, text: str) -> None:
            said.append(text)

        def stop(self) -> None: ...

    fallen = train(on_gpu(recipe, "auto"), tmp_path / "fallen", reporter=Listener())
    assert executor_of(fallen) == ("eager", 1)
    assert any("could not be captured" in line for line in said)
    assert losses(fallen) == pytest.approx(losses(eager), rel=1e-2)
    with pytest.raises(RunError, match="--executor captured is not possible"):
        train(on_gpu(recipe, "captured"), tmp_path / "forced")
