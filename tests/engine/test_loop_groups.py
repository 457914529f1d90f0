"""Groups of runs when something goes wrong: too little memory, runs at different places, a stage that begins."""

from __future__ import annotations

import dataclasses
import gc
import json
import weakref
from pathlib import Path

import pytest
import torch

from tailwise.core.errors import RunError
from tailwise.engine.checkpoint import Checkpoints
from tailwise.engine.execute import StackedExecutor
from tailwise.engine.loop import Loop
from tailwise.engine.optim import make_optimizer, restore_optimizer
from tailwise.engine.program import StepProgram
from tailwise.engine.progress import Silent
from tailwise.engine.recipe import Optim
from tailwise.engine.train import train, train_many
from tailwise.engine.training import Training
from tests.engine.test_program import begun
from tests.engine.test_together import crew
from tests.helpers import metrics_of, tiny_recipe, weights_of


def test_a_group_that_does_not_fit_goes_on_in_parts_that_stand_at_one_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = dataclasses.replace(tiny_recipe(epochs=4, at_once=4, checkpoint_seconds=0), precision="fp64")
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
    for recipe, folder in zip(recipes, folders, strict=True):
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
    original = Loop._tick

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
