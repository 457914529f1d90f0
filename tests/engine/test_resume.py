"""Nothing is lost when a run is killed: a resumed run equals an uninterrupted one bit for bit."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tailwise.core.spec import to_yaml
from tailwise.engine.checkpoint import Checkpoints
from tailwise.engine.loop import Interrupted, Loop
from tailwise.engine.recipe import Optim, Recipe, Stage
from tailwise.engine.train import train
from tailwise.models.resnet_cifar import ResNetCifar
from tests.helpers import metrics_of, result_of, same_weights, tiny_recipe, weights_of


def two_stages(**changes: object) -> Recipe:
    recipe = tiny_recipe(epochs=2)
    first = dataclasses.replace(recipe.stages[0], steps=13)
    second = dataclasses.replace(first, steps=None, epochs=1, optim=None)
    third = dataclasses.replace(second, trainable="head", reset=("head",), optim=Optim(lr=0.05))
    return dataclasses.replace(recipe, stages=(first, second, third), **changes)


def stop_at(patch: pytest.MonkeyPatch, step: int) -> None:
    """Every run asks itself to stop after that step."""
    original = Loop.__init__

    def with_a_stop(loop: Loop, *arguments: object) -> None:
        original(loop, *arguments)  # pyright: ignore[reportArgumentType]
        loop.stop = lambda: loop.live[0].step == step

    patch.setattr(Loop, "__init__", with_a_stop)


@pytest.mark.parametrize(
    ("step", "ema"),
    [
        (13, None),  # inside the second stage
        (5, 0.8),  # at the end of an epoch, with averaged weights
        *(pytest.param(step, None, marks=pytest.mark.slow) for step in (3, 5, 16, 19)),
        pytest.param(13, 0.8, marks=pytest.mark.slow),
    ],
)
def test_a_run_resumed_after_any_step_equals_an_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int, ema: float | None
) -> None:
    recipe = two_stages(ema=ema)
    whole = train(recipe, tmp_path / "whole")
    with monkeypatch.context() as patch, pytest.raises(Interrupted, match=f"step {step} of 23"):
        stop_at(patch, step)
        train(recipe, tmp_path / "cut")
    assert not (tmp_path / "cut" / "result.json").exists()
    resumed = train(recipe, tmp_path / "cut", resume=True)
    assert same_weights(weights_of(whole), weights_of(resumed))
    assert metrics_of(whole) == metrics_of(resumed)
    assert result_of(whole) == result_of(resumed)


@pytest.mark.slow
def test_the_host_path_goes_on_in_mid_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = two_stages()
    recipe = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, path="host", workers=1))
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        stop_at(patch, 7)
        train(recipe, tmp_path / "cut")
    whole = train(two_stages(), tmp_path / "whole")
    assert same_weights(weights_of(whole), weights_of(train(recipe, tmp_path / "cut", resume=True)))


@pytest.mark.parametrize("path", ["resident", pytest.param("host", marks=pytest.mark.slow)])
def test_dropout_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    original = ResNetCifar.forward_features

    def with_dropout(network: ResNetCifar, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.dropout(original(network, x), 0.3, network.training)

    recipe = tiny_recipe()
    plain = train(recipe, tmp_path / "plain")
    monkeypatch.setattr(ResNetCifar, "forward_features", with_dropout)
    whole = train(recipe, tmp_path / "whole")
    assert not same_weights(weights_of(whole), weights_of(plain))
    recipe = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, path=path, workers=1))
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        stop_at(patch, 3)
        train(recipe, tmp_path / "cut")
    assert same_weights(weights_of(whole), weights_of(train(recipe, tmp_path / "cut", resume=True)))


def test_a_carried_on_optimiser_is_resumed_in_a_stage_that_freezes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny_recipe(epochs=1)
    stage = recipe.stages[0]
    recipe = dataclasses.replace(recipe, stages=(stage, dataclasses.replace(stage, trainable="head", optim=None)))
    whole = train(recipe, tmp_path / "whole")
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        stop_at(patch, 7)
        train(recipe, tmp_path / "cut")
    assert same_weights(weights_of(whole), weights_of(train(recipe, tmp_path / "cut", resume=True)))


def test_kill_9_and_resume_give_the_weights_of_an_uninterrupted_run(tmp_path: Path) -> None:
    recipe = tiny_recipe(epochs=20, checkpoint_seconds=0.0)
    (tmp_path / "r.yaml").write_text(to_yaml(recipe))
    command = [sys.executable, "-m", "tailwise", "train", str(tmp_path / "r.yaml"), "--out", str(tmp_path / "cut")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    checkpoints = Checkpoints(tmp_path / "cut")
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        newest = checkpoints.newest()
        if newest is not None and int(newest.name.split("-")[1]) > 20:
            break
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert checkpoints.newest() is not None
    assert not (tmp_path / "cut" / "result.json").exists()
    subprocess.run([*command, "--resume"], check=True, stdout=subprocess.DEVNULL)
    whole = train(recipe, tmp_path / "whole")
    assert same_weights(weights_of(whole), weights_of(tmp_path / "cut"))
    assert metrics_of(whole) == metrics_of(tmp_path / "cut")


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_ctrl_c_keeps_a_checkpoint_and_tells_how_to_go_on(tmp_path: Path, number: signal.Signals) -> None:
    recipe = tiny_recipe(epochs=3000)
    (tmp_path / "r.yaml").write_text(to_yaml(recipe))
    command = [sys.executable, "-m", "tailwise", "train", "r.yaml", "--out", "cut"]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (tmp_path / "cut" / "metrics.jsonl").is_file():
        time.sleep(0.01)
    time.sleep(0.3)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Go on with: tailwise train r.yaml --out cut --resume" in errors
    assert "Traceback" not in errors
    assert Checkpoints(tmp_path / "cut").newest() is not None


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    recipe = tiny_recipe()
    run = train(recipe, tmp_path / "run")
    before = (run / "result.json").read_bytes(), (run / "model.safetensors").stat().st_mtime_ns
    for resume in (False, True):
        assert train(recipe, tmp_path / "run", resume=resume) == run
    assert before == ((run / "result.json").read_bytes(), (run / "model.safetensors").stat().st_mtime_ns)


def test_training_state_loads_with_weights_only_loading(tmp_path: Path) -> None:
    run = train(tiny_recipe(), tmp_path / "run")
    newest = Checkpoints(run).newest()
    assert newest is not None
    state = torch.load(newest / "state.pt", weights_only=True)
    assert state["global_step"] == 10


def test_frozen_parameters_do_not_move(tmp_path: Path) -> None:
    recipe = tiny_recipe(epochs=1)
    stage = recipe.stages[0]
    head_only = Stage(epochs=2, streams=stage.streams, trainable="head", reset=("head",), optim=Optim(lr=0.1))
    first = weights_of(train(recipe, tmp_path / "one"))
    both = weights_of(train(dataclasses.replace(recipe, stages=(stage, head_only)), tmp_path / "two"))
    assert all(torch.equal(first[name], both[name]) for name in first if name.startswith("backbone."))
    assert any(not torch.equal(first[name], both[name]) for name in first if name.startswith("head."))
