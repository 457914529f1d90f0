"""Groups of runs when something goes wrong: too little memory, runs at different places, a stage that begins."""

from __future__ import annotations

import dataclasses
import gc
import json
import weakref
from pathlib import Path

import pytest
import torch

from tailwise.cli import main
from tailwise.core.errors import RunError
from tailwise.core.spec import to_yaml
from tailwise.engine.checkpoint import Checkpoints
from tailwise.engine.execute import StackedExecutor
from tailwise.engine.loop import Loop
from tailwise.engine.optim import make_optimizer, restore_optimizer
from tailwise.engine.program import StepProgram
from tailwise.engine.progress import Silent
from tailwise.engine.recipe import Optim
from tailwise.engine.train import train, train_many
from tailwise.engine.training import Training
from tailwise.recipes.base import replace_stage
from tests.engine.test_program import begun
from tests.engine.test_together import crew
from tests.helpers import metrics_of, tiny_recipe, weights_of


@pytest.mark.slow
def test_a_group_that_does_not_fit_goes_on_in_parts_that_stand_at_one_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = dataclasses.replace(tiny_recipe(at_once=4, checkpoint_seconds=0), precision="fp64")
    recipes = [dataclasses.replace(base, seed=seed) for seed in range(4)]
    folders = [tmp_path / str(seed) for seed in range(4)]
    original = StackedExecutor.prepare

    def short_of_memory(executor: StackedExecutor, work: object) -> None:
        if len(executor.trainings) == 4 and executor.trainings[0].step >= 5:
            # One of the four stands behind the others, as a run does that had left the group.
            Checkpoints(folders[0]).folder.rename(folders[0] / "gone")
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB")
        original(executor, work)  # pyright: ignore[reportArgumentType]

    begins: list[list[int]] = []
    loop_begins = Loop.__init__

    def noted(loop: Loop, trainings: list[Training], *rest: object) -> None:
        begins.append([training.step for training in trainings])
        loop_begins(loop, trainings, *rest)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(StackedExecutor, "prepare", short_of_memory)
    monkeypatch.setattr(Loop, "__init__", noted)
    train_many(recipes, folders)
    assert begins == [[0] * 4, [0], [5], [5, 5]]
    monkeypatch.undo()
    for recipe, folder in list(zip(recipes, folders, strict=True))[::2]:  # one from each of the new groups
        alone = train(recipe, tmp_path / f"own{recipe.seed}")
        for name, value in weights_of(folder).items():
            torch.testing.assert_close(value, weights_of(alone)[name], rtol=1e-8, atol=1e-8)


def test_runs_at_different_places_do_not_go_side_by_side(tmp_path: Path) -> None:
    trainings, runtime, _ = begun(tiny_recipe(), tmp_path, runs=2)
    trainings[1].step = 3
    with pytest.raises(RunError, match=r"the runs stand at different steps \(0, 3\)"):
        Loop(trainings, runtime, Silent(), lambda: False)


@pytest.mark.parametrize("runs", [1, 2])
def test_a_closed_program_gives_its_memory_back_at_once(tmp_path: Path, runs: int) -> None:
    trainings, runtime, work = begun(tiny_recipe(), tmp_path, runs)
    program = StepProgram(trainings, runtime, work, compiled=False)
    program.load(work)
    program()
    program.close()
    left = weakref.ref(program)
    gc.disable()
    try:
        del program
        assert left() is None
    finally:
        gc.enable()


def test_only_what_comes_before_the_first_step_of_a_stage_counts_as_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts: list[bool] = []
    original = Loop._tick  # pyright: ignore[reportPrivateUsage]

    def noted(loop: Loop, *, startup: bool = False) -> None:
        starts.append(startup)
        original(loop, startup=startup)

    monkeypatch.setattr(Loop, "_tick", noted)
    stage = crew()[1]  # two stages: three epochs and one
    train(stage, tmp_path / "run")
    assert starts.count(True) == 2
    assert json.loads((tmp_path / "run" / "result.json").read_text())["seconds"] > 0
    assert len([line for line in metrics_of(tmp_path / "run") if line["event"] == "epoch"]) == 4


def test_an_optimiser_saved_amid_captured_steps_goes_on_with_ordinary_ones() -> None:
    parameter = torch.nn.Parameter(torch.ones(3))
    optimizer = make_optimizer(Optim(kind="adamw", lr=0.1), [parameter])
    saved = optimizer.state_dict()
    saved["param_groups"][0]["capturable"] = True
    restore_optimizer(optimizer, saved)
    assert optimizer.param_groups[0]["capturable"] is False


def test_two_runs_do_not_share_a_folder(tmp_path: Path) -> None:
    recipe = tiny_recipe()
    with pytest.raises(RunError) as error:
        train_many([recipe, recipe], [tmp_path / "run", tmp_path / "run"])
    assert str(error.value) == (
        f"two of the runs would go to {tmp_path / 'run'}; give each a seed or a folder of its own"
    )
    assert not (tmp_path / "run").exists()


def test_seeds_do_not_go_into_the_folder_of_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "r.yaml").write_text(to_yaml(tiny_recipe()))
    train(tiny_recipe(), tmp_path / "run")
    before = sorted((tmp_path / "run").iterdir())
    assert main(["train", str(tmp_path / "r.yaml"), "--seeds", "2", "--out", str(tmp_path / "run")]) == 2
    assert (
        f"{tmp_path / 'run'} holds a single run, and --seeds 2 makes a folder for each seed; nothing was changed. "
        "Choose another --out"
    ) in " ".join(capsys.readouterr().err.split())
    assert sorted((tmp_path / "run").iterdir()) == before


def test_a_group_of_which_some_are_finished_goes_on_with_the_others(tmp_path: Path) -> None:
    recipes = [dataclasses.replace(tiny_recipe(at_once=3), seed=seed) for seed in range(3)]
    folders = [tmp_path / str(seed) for seed in range(3)]
    train(recipes[1], folders[1])
    first = (folders[1] / "result.json").read_text()
    train_many(recipes, folders, resume=True)
    assert (folders[1] / "result.json").read_text() == first
    assert [json.loads((folder / "result.json").read_text())["at_once"] for folder in folders] == [2, 1, 2]


def test_every_run_of_a_group_may_diverge(tmp_path: Path) -> None:
    recipes = [
        dataclasses.replace(replace_stage(tiny_recipe(at_once=2), 0, optim=Optim(lr=1e30)), seed=seed)
        for seed in range(2)
    ]
    outcomes = train_many(recipes, [tmp_path / str(seed) for seed in range(2)])
    assert all(outcome.error is not None for outcome in outcomes)
    again = train_many(recipes, [tmp_path / str(seed) for seed in range(2)], resume=True)
    assert all(outcome.error is not None for outcome in again)


@pytest.mark.slow
def test_a_group_with_other_averages_heads_and_mixes_saved_after_every_step(tmp_path: Path) -> None:
    base = dataclasses.replace(tiny_recipe(at_once=3, checkpoint_seconds=0), precision="fp64")
    mixed = dataclasses.replace(
        tiny_recipe(changes=("mix=mixup",), at_once=3, checkpoint_seconds=0), precision="fp64", ema=0.9
    )
    cosine = dataclasses.replace(
        tiny_recipe(changes=("head=cosine", "feature_aug=manifold_mixup"), at_once=3, checkpoint_seconds=0),
        precision="fp64",
    )
    recipes, folders = [base, mixed, cosine], [tmp_path / name for name in "abc"]
    outcomes = train_many(recipes, folders)
    for number, (recipe, outcome) in enumerate(zip(recipes, outcomes, strict=True)):
        assert json.loads((outcome.folder / "result.json").read_text())["at_once"] == 3
        alone = train(recipe, tmp_path / f"own{number}")
        for name, value in weights_of(outcome.folder).items():
            torch.testing.assert_close(value, weights_of(alone)[name], rtol=1e-4, atol=1e-5)
