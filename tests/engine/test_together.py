"""Runs that train side by side are the runs that they would be alone."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from tailwise.cli import main
from tailwise.engine.checkpoint import Checkpoints
from tailwise.engine.loop import Interrupted, Loop
from tailwise.engine.recipe import Optim, Recipe, Stage
from tailwise.engine.step import NotFiniteLoss
from tailwise.engine.together import Job, group, split_evenly
from tailwise.engine.train import train, train_many
from tailwise.losses.balanced_softmax import BalancedSoftmax
from tailwise.objectives.classification import Classification
from tailwise.recipes.base import replace_stage
from tailwise.samplers.power import Power
from tests.helpers import metrics_of, result_of, tiny_recipe, weights_of


def crew(**changes: object) -> list[Recipe]:
    """Three methods of one shape: another loss, another sampler in a second stage, another seed with another rate.

    In float64, because training multiplies differences of rounding a thousandfold within a few steps.
    """
    base = dataclasses.replace(tiny_recipe(epochs=4, at_once=3), precision="fp64")
    loss = replace_stage(base, 0, objective=(Classification(loss=BalancedSoftmax()),))
    stage: Stage = base.stages[0]
    streams = {"main": dataclasses.replace(stage.streams["main"], sampler=Power(q=0.0))}
    late = dataclasses.replace(
        base,
        stages=(
            dataclasses.replace(stage, epochs=3),
            dataclasses.replace(stage, epochs=1, streams=streams, optim=None),
        ),
    )
    assert stage.optim is not None
    other = dataclasses.replace(replace_stage(base, 0, optim=dataclasses.replace(stage.optim, lr=0.02)), seed=5)
    return [dataclasses.replace(recipe, **changes) for recipe in (loss, late, other)]


def alone(recipe: Recipe, folder: Path) -> Path:
    return train(dataclasses.replace(recipe, run=dataclasses.replace(recipe.run, at_once=1)), folder)


def close(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor], tolerance: float = 1e-8) -> None:
    assert left.keys() == right.keys()
    for name, value in left.items():
        torch.testing.assert_close(
            value, right[name], rtol=tolerance, atol=tolerance, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.parametrize("ema", [pytest.param(None, marks=pytest.mark.slow), 0.9])
def test_stacked_runs_equal_runs_of_their_own(tmp_path: Path, ema: float | None) -> None:
    recipes = crew(ema=ema)
    outcomes = train_many(recipes, [tmp_path / f"stack{number}" for number in range(3)])
    for number, (recipe, outcome) in enumerate(zip(recipes, outcomes, strict=True)):
        single = alone(recipe, tmp_path / f"own{number}")
        together = json.loads((outcome.folder / "result.json").read_text())
        assert (together["executor"], together["at_once"]) == ("stacked", 3)
        close(weights_of(outcome.folder), weights_of(single))
        mine, theirs = metrics_of(outcome.folder), metrics_of(single)
        assert [line["event"] for line in mine] == [line["event"] for line in theirs]
        for left, right in zip(mine, theirs, strict=True):
            if left["event"] == "epoch":
                assert (left["step"], left["lr"], left["stage"]) == (right["step"], right["lr"], right["stage"])
                assert left["loss"] == pytest.approx(right["loss"], rel=1e-6)
        assert result_of(outcome.folder)["recipe_hash"] == result_of(single)["recipe_hash"]


@pytest.mark.slow
def test_each_run_of_a_stack_goes_on_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipes = crew()
    folders = [tmp_path / f"run{number}" for number in range(3)]
    original = Loop.__init__

    def with_a_stop(loop: Loop, *arguments: object) -> None:
        original(loop, *arguments)  # pyright: ignore[reportArgumentType]
        loop.stop = lambda: loop.live[0].step == 7

    with monkeypatch.context() as patch, pytest.raises(Interrupted, match="step 7 of 20"):
        patch.setattr(Loop, "__init__", with_a_stop)
        train_many(recipes, folders)
    assert [newest.name for folder in folders if (newest := Checkpoints(folder).newest())] == ["step-000000007"] * 3
    for number, recipe in enumerate(recipes):
        resumed = train(recipe, folders[number], resume=True)
        close(weights_of(resumed), weights_of(alone(recipe, tmp_path / f"own{number}")))
        assert result_of(resumed)["steps"] == 20


@pytest.mark.slow
def test_a_stack_goes_on_as_a_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipes = crew()
    folders = [tmp_path / f"run{number}" for number in range(3)]
    original = Loop.__init__

    def with_a_stop(loop: Loop, *arguments: object) -> None:
        original(loop, *arguments)  # pyright: ignore[reportArgumentType]
        loop.stop = lambda: loop.live[0].step == 17

    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(Loop, "__init__", with_a_stop)
        train_many(recipes, folders)
    train_many(recipes, folders, resume=True)
    whole = train_many(recipes, [tmp_path / f"whole{number}" for number in range(3)])
    for folder, outcome in zip(folders, whole, strict=True):
        assert json.loads((folder / "result.json").read_text())["at_once"] == 3
        assert metrics_of(folder) == metrics_of(outcome.folder)
        assert all(
            torch.equal(a, b)
            for a, b in zip(weights_of(folder).values(), weights_of(outcome.folder).values(), strict=True)
        )


def test_one_run_that_diverges_does_not_end_the_others(tmp_path: Path) -> None:
    fine, _, other = crew()
    stage = other.stages[0]
    assert isinstance(stage.optim, Optim)
    bad = replace_stage(other, 0, optim=dataclasses.replace(stage.optim, lr=1e30))
    outcomes = train_many([fine, bad, other], [tmp_path / name for name in "abc"])
    assert [outcome.error is None for outcome in outcomes] == [True, False, True]
    assert isinstance(outcomes[1].error, NotFiniteLoss)
    close(weights_of(outcomes[0].folder), weights_of(alone(fine, tmp_path / "own")))
    assert not (tmp_path / "b" / "result.json").exists()


def test_only_runs_of_one_shape_go_in_lockstep(tmp_path: Path) -> None:
    from tailwise.engine.prepare import prepare
    from tailwise.engine.run_folder import RunFolder

    recipes = crew()
    prepared = prepare(recipes[0].data, torch.device("cpu"), lambda line: None)
    wider = dataclasses.replace(recipes[0], backbone=dataclasses.replace(recipes[0].backbone, width=0.5))
    shorter = replace_stage(recipes[0], 0, epochs=3)
    half = dataclasses.replace(recipes[0], precision="bf16")
    jobs = [
        Job(number, recipe, prepared, RunFolder(tmp_path / str(number)))
        for number, recipe in enumerate([*recipes, wider, shorter, half])
    ]
    assert [[job.number for job in members] for members in group(jobs)] == [[0, 1, 2], [3], [4], [5]]
    assert [len(part) for part in split_evenly(jobs, 4)] == [3, 3]


def test_seeds_train_side_by_side_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tailwise.core.spec import to_yaml

    (tmp_path / "r.yaml").write_text(to_yaml(tiny_recipe()))
    arguments = ["train", str(tmp_path / "r.yaml"), "--seeds", "3", "--at-once", "3", "--out", str(tmp_path / "runs")]
    assert main(arguments) == 0
    assert "3 runs at once" in capsys.readouterr().out
    for seed in range(3):
        result = json.loads((tmp_path / "runs" / f"seed{seed}" / "result.json").read_text())
        assert (result["seed"], result["executor"]) == (seed, "stacked")
    assert main([*arguments[:2], "--seeds", "0"]) == 2
    assert "--seeds must be at least 1, got 0" in capsys.readouterr().err
