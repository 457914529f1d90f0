"""`--devices` starts the further processes on this machine, of a module and of an installed command alike."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULE = ["-m", "tests.ddp.launched_worker"]


def start(program: list[str], folder: Path, what: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *program, "work", str(folder), what],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **env},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def findings(folder: Path) -> list[dict[str, Any]]:
    return sorted((json.loads(file.read_text()) for file in folder.glob("*.json")), key=lambda item: item["rank"])


def command(folder: Path) -> list[str]:
    """A file without a suffix in another folder, which is what an installed command is."""
    file = folder / "command"
    file.write_text("import sys\nfrom tests.ddp.launched_worker import main\nsys.exit(main())\n")
    return [str(file)]


def check(zero: dict[str, Any], one: dict[str, Any]) -> None:
    assert (zero["rank"], one["rank"], zero["world"], one["world"]) == (0, 1, 2, 2)
    assert zero["sum"] == one["sum"] == [3.0]
    assert (zero["again"], one["again"]) == ([0, 2], [1, 2])
    assert (zero["main"], one["main"]) == ([True, True], [False, False])
    assert (zero["silent"], one["silent"]) == (False, True)


@pytest.mark.slow
def test_two_processes_of_a_module_meet_and_one_of_them_speaks(tmp_path: Path) -> None:
    run = start(MODULE, tmp_path, "meet")
    assert run.returncode == 0, run.stderr[-3000:]
    assert run.stdout + run.stderr == ""
    check(*findings(tmp_path))


def test_two_processes_of_a_command_meet_and_the_death_of_one_ends_the_other_with_a_message(tmp_path: Path) -> None:
    began = time.monotonic()
    run = start(command(tmp_path), tmp_path, "die")
    check(*findings(tmp_path))
    assert run.stderr.strip().splitlines() == ["stopped: process 1 of 2 ended without a message (signal 9)"]
    assert run.returncode == 1
    assert time.monotonic() - began < 60


@pytest.mark.slow
def test_a_port_in_use_is_named_before_anything_starts(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        run = start(MODULE, tmp_path, "meet", MASTER_PORT=str(port))
    (line,) = run.stderr.strip().splitlines()
    assert line.startswith(
        f"error: port {port} (MASTER_PORT), where the processes meet, is in use on this machine; choose another one, "
        "for example MASTER_PORT="
    )
    assert run.returncode == 2
    assert findings(tmp_path) == []
