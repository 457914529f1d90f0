"""Mistakes around several processes: one message, exit status 2, nothing hangs and nothing is written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tailwise import cli
from tailwise.core.spec import SpecError, from_yaml
from tailwise.engine.recipe import Recipe

ROOT = Path(__file__).resolve().parents[2]
TRAIN = ["train", "--data", "synthetic", "--epochs", "1", "--image-size", "8", "--device", "cpu"]
TORCHRUN = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "0"}


@pytest.mark.parametrize(
    ("options", "environment", "message"),
    [
        (
            ["--devices", "3"],
            TORCHRUN,
            "error: --devices 3 was given, but torchrun has 2 processes on this machine; leave --devices out or give 2",
        ),
        (
            ["--nodes", "2"],
            {},
            "error: --nodes 2 needs MASTER_ADDR, MASTER_PORT and NODE_RANK in the environment, so that the machines "
            "find each other: the address and a free port of the first machine, the same everywhere, and this "
            "machine's number from 0",
        ),
        (
            ["--precision", "fp16"],
            {},
            "error: precision fp16 needs a CUDA device; allowed on a CPU: fp32, bf16, fp64",
        ),
    ],
)
def test_what_cannot_start_is_said_in_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    environment: dict[str, str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert cli.main([*TRAIN, *options]) == 2
    assert capsys.readouterr().err == message + "\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--strategy", "fsdp"], "invalid choice 'fsdp'"),
        (["--devices", "0"], "devices must be at least 1, got 0"),
        (["--nodes", "0"], "nodes must be at least 1, got 0"),
        (["--precision", "half"], "invalid choice 'half'"),
    ],
)
def test_a_value_that_does_not_exist_is_refused_by_the_parser(
    capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main([*TRAIN, *options])
    assert stop.value.code == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_a_sharded_strategy_in_a_recipe_file_is_refused_with_the_allowed_ones() -> None:
    with pytest.raises(SpecError) as caught:
        from_yaml(Recipe, "run: {strategy: fsdp}", "")
    assert str(caught.value) == (
        "run.strategy: 'fsdp' is not allowed; one of auto, ddp, ddp_find_unused_parameters_true; did you mean 'ddp'?"
    )


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["torchrun", "--devices"])
def test_a_batch_that_the_processes_cannot_share_is_said_once(tmp_path: Path, launcher: str) -> None:
    command = [*TRAIN, "--stages.0.streams.main.batch", "33", "--out", str(tmp_path / "run")]
    if launcher == "torchrun":
        start = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "tailwise"]
    else:
        start, command = ["-m", "tailwise"], [*command, "--devices", "2"]
    run = subprocess.run(
        [sys.executable, *start, *command],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    lines = [line for line in run.stderr.splitlines() if line.startswith(("error:", "stopped:"))]
    assert lines == [
        "error: stream 'main' has a global batch of 33, which 2 processes cannot share evenly; the nearest batch that "
        "works is 32"
    ]
    if launcher == "torchrun":
        assert "exitcode  : 2" in run.stderr  # torchrun's own summary; its own status is always 1
    else:
        assert run.returncode == 2
        assert run.stderr.splitlines() == lines
    assert not (tmp_path / "run").exists()
