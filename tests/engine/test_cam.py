"""CAM-based sampling in whole runs: both paths, resume, captured steps, runs side by side."""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tailwise.cli import main
from tailwise.core.errors import TailwiseError
from tailwise.data.open import open_data
from tailwise.data.pack_writer import new_header, write_pack
from tailwise.engine.loop import Interrupted
from tailwise.engine.prepare import prepare
from tailwise.engine.program import StepProgram
from tailwise.engine.recipe import Data, Recipe
from tailwise.engine.run_folder import RunFolder
from tailwise.engine.runtime import Runtime
from tailwise.engine.sources import make_source, make_split
from tailwise.engine.step import EagerExecutor
from tailwise.engine.train import train, train_many
from tailwise.engine.training import EpochWork, Training
from tailwise.recipes.base import replace_stage
from tests.engine.test_program import state
from tests.engine.test_resume import stop_at
from tests.engine.test_together import alone, close
from tests.helpers import metrics_of, result_of, same_weights, tiny_recipe, weights_of


@pytest.fixture(autouse=True)
def _without_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing a page takes four times as long as such a training."""
    monkeypatch.setattr("tailwise.engine.result.draw", lambda folder: None)


def long_tailed(name: str = "cam-balance-sampling", **changes: object) -> Recipe:
    """Two stages, 3 epochs of 2 steps and 2 of 3; four fifths of what the smallest class shows are generated."""
    recipe = tiny_recipe(name, epochs=5)
    recipe = replace_stage(replace_stage(recipe, 0, epochs=3), 1, epochs=2, steps_per_epoch=3)
    data = dataclasses.replace(recipe.data, imbalance_factor=4.0)
    return dataclasses.replace(recipe, data=data, **changes)


@pytest.mark.parametrize(("name", "ema"), [("cam-balance-sampling", None), ("cam-balance-sampling-official", 0.8)])
def test_a_run_resumed_inside_the_stage_equals_an_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, ema: float | None
) -> None:
    recipe = long_tailed(name, ema=ema)
    whole = train(recipe, tmp_path / "whole")
    first = result_of(whole)["steps"] - 6
    for after in (0, 2):
        cut = tmp_path / f"cut{after}"
        with monkeypatch.context() as patch, pytest.raises(Interrupted):
            stop_at(patch, first + after)
            train(recipe, cut)
        bank = cut / "stage1-cam.safetensors"
        assert bank.exists() == (after > 0)
        before = bank.read_bytes() if after else b""
        resumed = train(recipe, cut, resume=True)
        assert not after or bank.read_bytes() == before
        assert same_weights(weights_of(whole), weights_of(resumed))
        assert metrics_of(whole) == metrics_of(resumed)
        assert bank.read_bytes() == (whole / "stage1-cam.safetensors").read_bytes()


def test_generated_images_change_what_is_learned_and_maps_matter(tmp_path: Path) -> None:
    names = ("cam-balance-sampling", "image-trans-balance-sampling")
    runs = [weights_of(train(long_tailed(name), tmp_path / name)) for name in names]
    plain = long_tailed()
    streams = {"main": dataclasses.replace(plain.stages[1].streams["main"], generate=None)}
    runs.append(weights_of(train(replace_stage(plain, 1, streams=streams), tmp_path / "plain")))
    for number, left in enumerate(runs):
        assert all(not same_weights(left, right) for right in runs[number + 1 :])


def test_the_host_path_gives_the_same_run(tmp_path: Path) -> None:
    recipe = long_tailed()
    runs = []
    for path, workers in (("resident", 0), ("host", 0), ("host", 2)):
        data = dataclasses.replace(recipe.data, path=path, workers=workers)
        runs.append(train(dataclasses.replace(recipe, data=data), tmp_path / f"{path}{workers}"))
    for other in runs[1:]:
        assert same_weights(weights_of(runs[0]), weights_of(other))
        assert metrics_of(runs[0]) == metrics_of(other)
        name = "stage1-cam.safetensors"
        assert (runs[0] / name).read_bytes() == (other / name).read_bytes()


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A folder of images of many shapes, and a pack of it."""
    base = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for split, count in (("train", 9), ("test", 3)):
        for number, label in enumerate(("a", "b", "c")):
            (base / "images" / split / label).mkdir(parents=True)
            for image in range(count - 2 * number if split == "train" else count):
                shape = (int(rng.integers(20, 50)), int(rng.integers(20, 50)), 3)
                pixels = rng.integers(0, 256, shape, dtype=np.uint8)
                Image.fromarray(pixels).save(base / "images" / split / label / f"{image}.png")
    splits = open_data("folder", location=base / "images")
    write_pack(base / "pack", splits, new_header(splits, "short", 18, ""))
    return str(base / "images"), str(base / "pack")


@pytest.mark.parametrize(
    ("augmentation", "name"),
    [
        ("random_resized_crop", "cam-balance-sampling"),
        ("random_resized_crop", "cam-balance-sampling-official"),
        ("pad_crop", "cam-balance-sampling"),
    ],
)
def test_both_paths_of_an_image_pack_give_the_same_run(
    pack: tuple[str, str], tmp_path: Path, augmentation: str, name: str
) -> None:
    recipe = long_tailed(name)
    runs = []
    for path, workers in (("resident", 1), ("host", 2)):
        data = Data(
            name="folder",
            location=pack[0],
            pack=pack[1],
            image_size=12,
            color_jitter=0.3,
            augmentation=augmentation,  # pyright: ignore[reportArgumentType]
            path=path,  # pyright: ignore[reportArgumentType]
            workers=workers,
        )
        changed = dataclasses.replace(recipe, data=data)
        for number in range(2):
            streams = {"main": dataclasses.replace(changed.stages[number].streams["main"], batch=8)}
            changed = replace_stage(changed, number, streams=streams)
        runs.append(train(changed, tmp_path / path))
    assert same_weights(weights_of(runs[0]), weights_of(runs[1]))
    assert (runs[0] / "stage1-cam.safetensors").read_bytes() == (runs[1] / "stage1-cam.safetensors").read_bytes()


def in_second_stage(recipe: Recipe, folder: Path, runs: int = 1) -> tuple[list[Training], Runtime, list[EpochWork]]:
    """Trainings that stand at the first epoch of a stage that generates, after no training at all."""
    runtime = Runtime("cpu", recipe.precision)
    prepared = prepare(recipe.data, runtime.device, lambda line: None)
    source, split = make_source(recipe, prepared, runtime), make_split(recipe, prepared, runtime)
    trainings: list[Training] = []
    for seed in range(runs):
        (folder / str(seed)).mkdir(parents=True)
        seeded, own = dataclasses.replace(recipe, seed=seed), RunFolder(folder / str(seed))
        trainings.append(Training(seeded, prepared, source, split, runtime, own))
        trainings[-1].stage_number = 1
        trainings[-1].enter()
    return trainings, runtime, [training.begin_epoch() for training in trainings]


@pytest.mark.parametrize(
    ("name", "runs"),
    [
        pytest.param("cam-balance-sampling", 1, marks=pytest.mark.slow),
        ("cam-balance-sampling-official", 2),
    ],
)
def test_a_compiled_step_on_fixed_buffers_equals_ordinary_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, runs: int
) -> None:
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager", fullgraph=True))
    recipe = long_tailed(name, precision="fp64")
    plain, runtime, work = in_second_stage(recipe, tmp_path / "plain", runs)
    for _ in EagerExecutor(runtime, plain).steps(work):
        pass
    others, runtime, other_work = in_second_stage(recipe, tmp_path / "program", runs)
    program = StepProgram(others, runtime, other_work, compiled=True)
    program.load(other_work)
    for _ in other_work[0].rates:
        program()
    program.close()
    for left, right in zip(plain, others, strict=True):
        expected = state(left)
        for key, value in state(right).items():
            torch.testing.assert_close(value, expected[key], rtol=1e-8, atol=1e-10)
    banks = [training.task.generates["main"].maps for training in others]
    assert all(bank is not None for bank in banks)
    assert runs == 1 or not torch.equal(*[bank for bank in banks if bank is not None])


def test_runs_side_by_side_use_their_own_maps(tmp_path: Path) -> None:
    recipe = long_tailed(precision="fp64")
    recipe = dataclasses.replace(recipe, run=dataclasses.replace(recipe.run, at_once=2))
    recipes = [recipe, dataclasses.replace(recipe, seed=3)]
    outcomes = train_many(recipes, [tmp_path / f"stack{number}" for number in range(2)])
    for number, (single, outcome) in enumerate(zip(recipes, outcomes, strict=True)):
        together = json.loads((outcome.folder / "result.json").read_text())
        assert (together["executor"], together["at_once"]) == ("stacked", 2)
        close(weights_of(outcome.folder), weights_of(alone(single, tmp_path / f"own{number}")))


def test_an_impossible_recipe_is_refused_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = long_tailed()
    with pytest.raises(TailwiseError, match="no classifier is trained before it"):
        train(dataclasses.replace(recipe, stages=recipe.stages[1:]), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    arguments = ["train", "ce", "--data", "synthetic", "--with", "generate=cam", "--out", str(tmp_path / "run")]
    assert main(arguments) == 2
    assert "no classifier is trained before it" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_stage_may_start_from_another_run(tmp_path: Path) -> None:
    recipe = long_tailed()
    before = train(dataclasses.replace(recipe, stages=recipe.stages[:1]), tmp_path / "before")
    weights = str(before / "model.safetensors")
    second = replace_stage(dataclasses.replace(recipe, stages=recipe.stages[1:]), 0, start_from=weights)
    run = train(second, tmp_path / "after")
    assert (run / "stage0-cam.safetensors").exists()
    (line,) = [line for line in metrics_of(run) if line["event"] == "maps"]
    assert (line["stage"], line["step"]) == (0, 0)


def test_a_component_is_put_where_images_are_generated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changed = tiny_recipe("cam-balance-sampling", changes=("generate=cam_transform(threshold=0.5)",))
    assert changed.stages[0].streams["main"].generate is None
    generate = changed.stages[1].streams["main"].generate
    assert generate is not None
    assert "threshold=0.5" in repr(generate)
    both = tiny_recipe("drs", changes=("generate=image_trans",))
    assert all(stage.streams["main"].generate is not None for stage in both.stages)
    assert main(["train", "ce", "--data", "synthetic", "--with", "generate=cams", "--out", str(tmp_path / "x")]) == 2
    assert "did you mean 'cam'?" in capsys.readouterr().err
