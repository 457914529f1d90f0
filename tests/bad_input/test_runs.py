"""Mistakes around a run: each one clear message, nothing lost, no traceback."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import SafetensorError

from tailwise import cli
from tailwise.core.errors import DataError, RunError, TailwiseError
from tailwise.engine import checkpoint
from tailwise.engine.checkpoint import Checkpoints
from tailwise.engine.prepare import prepare
from tailwise.engine.recipe import Data, Optim, Recipe
from tailwise.engine.run_folder import RunFolder
from tailwise.engine.schedule import Constant
from tailwise.engine.step import NotFiniteLoss
from tailwise.engine.train import train
from tailwise.recipes.base import replace_stage
from tests.helpers import result_of, same_weights, tiny_recipe, weights_of


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def folder_with_bad_files(base: Path) -> Recipe:
    rng = np.random.default_rng(0)
    for split, count in (("train", 12), ("val", 4)):
        for label in ("a", "b"):
            at = base / split / label
            at.mkdir(parents=True)
            for number in range(count):
                Image.fromarray(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(
                    at / f"{number:02}.jpg", quality=95
                )
    whole = (base / "train" / "a" / "03.jpg").read_bytes()
    (base / "train" / "a" / "03.jpg").write_bytes(whole[: len(whole) // 2])
    (base / "train" / "b" / "05.jpg").write_text("not an image")
    (base / "val" / "b" / "01.jpg").write_bytes(b"")
    recipe = tiny_recipe(epochs=1)
    data = Data(name="folder", location=str(base), image_size=16)
    recipe = dataclasses.replace(recipe, data=data)
    streams = {"main": dataclasses.replace(recipe.stages[0].streams["main"], batch=8)}
    return replace_stage(recipe, 0, streams=streams)


@pytest.mark.parametrize("path", ["resident", "host"])
def test_training_goes_on_without_unreadable_images_and_says_so(tmp_path: Path, path: str) -> None:
    recipe = folder_with_bad_files(tmp_path / "images")
    recipe = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, path=path))
    said: list[str] = []

    class Reporter:
        def line(self, text: str) -> None:
            said.append(text)

        def start(self, title: str, steps: int, done: int) -> None: ...
        def update(self, done: int, epoch: str, loss: float, accuracy: float, rate: float) -> None: ...
        def stop(self) -> None: ...

    result = result_of(train(recipe, tmp_path / "run", reporter=Reporter()))
    assert result["class_counts"] == [11, 11]
    assert [line.split(":")[0] for line in result["data"]["unreadable"]] == [
        "train/a/03.jpg",
        "train/b/05.jpg",
        "val/b/01.jpg",
    ]
    assert "going on without 3 images" in " ".join(said)
    assert "03.jpg" in " ".join(said)
    assert np.sum(result["confusion"], axis=1).tolist() == [4, 3]


def test_strict_refuses_unreadable_images_and_names_them(tmp_path: Path) -> None:
    recipe = folder_with_bad_files(tmp_path / "images")
    recipe = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, strict=True))
    with pytest.raises(DataError, match=r"3 images cannot be read, and --strict was given[\s\S]*05\.jpg"):
        train(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_class_that_loses_every_image_is_refused(tmp_path: Path) -> None:
    recipe = folder_with_bad_files(tmp_path / "images")
    for file in (tmp_path / "images" / "train" / "b").iterdir():
        file.write_text("broken")
    with pytest.raises(DataError, match=r"b\b"):
        train(recipe, tmp_path / "run")


def test_images_other_than_the_recipe_s_are_refused(tmp_path: Path) -> None:
    recipe = folder_with_bad_files(tmp_path / "images")
    recipe = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, fingerprint="0" * 16))
    with pytest.raises(DataError, match="not those of the recipe"):
        train(recipe, tmp_path / "run")


def test_an_out_folder_with_another_recipe_s_run_is_refused_and_untouched(tmp_path: Path) -> None:
    train(tiny_recipe(), tmp_path / "run")
    before = contents(tmp_path / "run")
    with pytest.raises(RunError, match=r"another recipe .*objective\.0\.loss"):
        train(tiny_recipe("balanced-softmax"), tmp_path / "run")
    with pytest.raises(RunError, match="seed 0, not 1"):
        train(dataclasses.replace(tiny_recipe(), seed=1), tmp_path / "run")
    with pytest.raises(RunError, match="another recipe"):
        train(tiny_recipe("balanced-softmax"), tmp_path / "run", resume=True)
    assert contents(tmp_path / "run") == before


def test_an_out_folder_with_other_files_is_refused_and_untouched(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.txt").write_text("meow")
    with pytest.raises(RunError, match="is not empty and holds no run"):
        train(tiny_recipe(), tmp_path / "photos")
    assert list((tmp_path / "photos").iterdir()) == [tmp_path / "photos" / "cat.txt"]


def test_an_unfinished_run_needs_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tiny_recipe(checkpoint_seconds=0.0)
    with monkeypatch.context() as patch:
        patch.setattr("tailwise.engine.train.write_result", lambda *args: (_ for _ in ()).throw(RunError("cut")))
        with pytest.raises(RunError, match="cut"):
            train(recipe, tmp_path / "run")
    with pytest.raises(RunError, match="--resume"):
        train(recipe, tmp_path / "run")
    assert result_of(train(recipe, tmp_path / "run", resume=True))["finished"]


def test_two_processes_do_not_train_in_one_folder(tmp_path: Path) -> None:
    first = RunFolder(tmp_path / "run")
    recipe = tiny_recipe()
    prepared = prepare(recipe.data, torch.device("cpu"), lambda line: None)
    first.claim(dataclasses.replace(recipe, data=prepared.data), resume=False)
    command = [sys.executable, "-m", "tailwise", "train", "run/recipe.yaml", "--out", "run"]
    second = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert second.returncode == 2
    assert "another process is training in run" in second.stderr
    first.release()
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode == 0


def test_an_unwritable_folder_is_told_before_training(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match=r"cannot write to .*file.*--out"):
        train(tiny_recipe(), tmp_path / "file" / "run")


def test_a_write_that_the_system_refuses_is_one_clear_message(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, before[1]))
    try:
        with pytest.raises(RunError, match=r"cannot write to .*run: File too large"):
            train(tiny_recipe(checkpoint_seconds=0.0), tmp_path / "run")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list((tmp_path / "run" / "checkpoints").iterdir())
    assert result_of(train(tiny_recipe(), tmp_path / "run", resume=True))["finished"]


@pytest.mark.parametrize("code", [errno.ENOSPC, pytest.param(errno.EACCES, marks=pytest.mark.slow)])
def test_a_full_disk_keeps_the_last_good_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    recipe = tiny_recipe(checkpoint_seconds=0.0)
    written = checkpoint.save_file
    calls: list[Path] = []

    def fails_at_the_fourth(tensors: dict[str, object], path: Path, *rest: object) -> None:
        calls.append(path)
        if len(calls) == 4:
            # the class and the words of the library that writes
            raise SafetensorError(f"Error while serializing: I/O error: {os.strerror(code)} (os error {code})")
        written(tensors, path, *rest)  # pyright: ignore

    with monkeypatch.context() as patch, pytest.raises(RunError, match="full" if code == errno.ENOSPC else "denied"):
        patch.setattr(checkpoint, "save_file", fails_at_the_fourth)
        train(recipe, tmp_path / "run")
    newest = Checkpoints(tmp_path / "run").newest()
    assert newest is not None
    assert newest.name == "step-000000003"
    assert not list((tmp_path / "run" / "checkpoints").glob(".writing*"))
    whole = result_of(train(recipe, tmp_path / "whole"))
    assert result_of(train(recipe, tmp_path / "run", resume=True)) == whole


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_step(tmp_path: Path) -> None:
    recipe = tiny_recipe(checkpoint_seconds=0.0)
    exploding = Optim(lr=1e30, schedule=Constant())
    recipe = replace_stage(recipe, 0, optim=exploding)
    with pytest.raises(NotFiniteLoss, match=r"at step \d+; a smaller learning rate|no longer finite at step \d+"):
        train(recipe, tmp_path / "run")
    assert not (tmp_path / "run" / "result.json").exists()
    newest = Checkpoints(tmp_path / "run").newest()
    if newest is not None:
        weights = checkpoint.load_weights(newest / "model.safetensors")
        assert checkpoint.not_finite(weights) is None


def test_the_checkpoint_before_the_bad_step_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tailwise.engine.step import EpochMeter

    original = EpochMeter.add

    def poisoned(meter: EpochMeter, output: dict[str, object]) -> None:
        original(meter, output)
        if meter.done == 3:
            meter.losses[2] = float("nan")

    monkeypatch.setattr(EpochMeter, "add", poisoned)
    with pytest.raises(NotFiniteLoss, match="nan at step 3"):
        train(tiny_recipe(checkpoint_seconds=0.0), tmp_path / "run")
    newest = Checkpoints(tmp_path / "run").newest()
    assert newest is not None
    assert newest.name == "step-000000002"


def test_a_damaged_checkpoint_is_named_and_the_one_before_is_offered(tmp_path: Path) -> None:
    recipe = tiny_recipe(checkpoint_seconds=0.0)
    expected = train(recipe, tmp_path / "whole")
    train(recipe, tmp_path / "run")
    (tmp_path / "run" / "result.json").unlink()
    before, newest = sorted((tmp_path / "run" / "checkpoints").iterdir())
    for name in ("state.pt", "model.safetensors"):
        whole = (newest / name).read_bytes()
        for broken in (whole[:100], b"junk", whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:]):
            (newest / name).write_bytes(broken)
            with pytest.raises(RunError, match=f"{newest.name} is damaged .*{name}.*the one before, {before.name}"):
                train(recipe, tmp_path / "run", resume=True)
        (newest / name).write_bytes(whole)
    (newest / "state.pt").unlink()
    with pytest.raises(RunError, match=f"{newest.name} is damaged .*the one before, {before.name}"):
        train(recipe, tmp_path / "run", resume=True)
    shutil.rmtree(newest)
    assert result_of(train(recipe, tmp_path / "run", resume=True)) == result_of(expected)
    assert same_weights(weights_of(tmp_path / "run"), weights_of(expected))


def test_a_damaged_checkpoint_without_one_before_says_to_start_anew(tmp_path: Path) -> None:
    recipe = tiny_recipe()
    train(recipe, tmp_path / "run")
    (tmp_path / "run" / "result.json").unlink()
    for other in sorted((tmp_path / "run" / "checkpoints").iterdir())[:-1]:
        shutil.rmtree(other)
    newest = Checkpoints(tmp_path / "run").newest()
    assert newest is not None
    (newest / "checksums.json").unlink()  # as an earlier version wrote it
    (newest / "model.safetensors").write_bytes(b"junk")
    with pytest.raises(RunError, match=r"damaged .*not a complete safetensors file.*to start anew"):
        train(recipe, tmp_path / "run", resume=True)


def test_too_few_values_for_batch_norm_are_told(tmp_path: Path) -> None:
    recipe = tiny_recipe()
    recipe = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, image_size=4))
    streams = {"main": dataclasses.replace(recipe.stages[0].streams["main"], batch=1)}
    with pytest.raises(RunError, match="BatchNorm needs more than one value"):
        train(replace_stage(recipe, 0, streams=streams), tmp_path / "run")


def test_folder_names_that_are_not_utf_8_train_and_are_drawn(tmp_path: Path) -> None:
    folder_with_bad_files(tmp_path / "images")
    for split in ("train", "val"):
        at = os.fsencode(tmp_path / "images" / split)
        os.rename(at + b"/a", at + b"/caf\xe9")
    recipe = folder_with_bad_files(tmp_path / "other")
    data = dataclasses.replace(recipe.data, location=str(tmp_path / "images"))
    run = train(dataclasses.replace(recipe, data=data), tmp_path / "run")
    assert result_of(run)["class_names"] == ["b", "caf\N{REPLACEMENT CHARACTER}"]
    assert (run / "report.html").is_file()


def test_a_stage_that_trains_nothing_is_told(tmp_path: Path) -> None:
    with pytest.raises(TailwiseError, match="fits no parameter"):
        train(replace_stage(tiny_recipe(), 0, trainable="nothing"), tmp_path / "run")


def test_a_random_resized_crop_cannot_be_resident(tmp_path: Path) -> None:
    recipe = tiny_recipe()
    data = dataclasses.replace(recipe.data, path="resident", augmentation="random_resized_crop")
    with pytest.raises(DataError, match="pad_crop"):
        train(dataclasses.replace(recipe, data=data), tmp_path / "run")


def test_result_is_plain_json_without_nan(tmp_path: Path) -> None:
    run = train(tiny_recipe(), tmp_path / "run")
    text = (run / "result.json").read_text()
    assert json.loads(text, parse_constant=lambda name: pytest.fail(name))["recipe"] == "ce"


@pytest.mark.parametrize("workers", [0, 1])
def test_a_file_that_breaks_while_training_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    recipe = folder_with_bad_files(tmp_path / "images")
    data = dataclasses.replace(recipe.data, path="host", workers=workers)
    monkeypatch.setattr("tailwise.engine.prepare.find_unreadable", lambda *args: {})
    with pytest.raises(DataError, match=r"became unreadable while training: .*0[35]\.jpg"):
        train(dataclasses.replace(recipe, data=data), tmp_path / "run")


def test_a_run_s_recipe_finds_its_images_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = folder_with_bad_files(tmp_path / "here" / "images")
    monkeypatch.chdir(tmp_path / "here")
    data = dataclasses.replace(recipe.data, location="images")
    run = train(dataclasses.replace(recipe, data=data), tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    assert cli.main(["evaluate", str(run)]) == 0
    measured = json.loads((run / "evaluation-folder.json").read_text())
    assert measured["confusion"] == result_of(run)["confusion"]
