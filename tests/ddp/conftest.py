"""One start of processes for all tests of this folder."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.ddp import equality, resume
from tests.ddp.pairs import BEGIN

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Pairs:
    """What the pairs of processes left.

    Attributes:
        folder: Their files.
        found: By scenario, for each of the two processes its exit status, its seconds and what it said.
    """

    folder: Path
    found: dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Pairs:
    base = tmp_path_factory.getbasetemp()
    # The workers of pytest-xdist share one start: the first one makes it, the others wait.
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = base / "ddp-pairs"
    with (base / "ddp-pairs.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "ready").exists():
            folder.mkdir(exist_ok=True)
            _run(folder)
            (folder / "ready").touch()
    return Pairs(folder, json.loads((folder / "found.json").read_text()))


def _run(folder: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "tests.ddp.pairs", str(folder)]
    with subprocess.Popen(command, cwd=ROOT, env=env, stderr=subprocess.PIPE, text=True) as run:
        try:
            # While the other process imports, this one does what one process has to do.
            equality.main(folder)
            resume.before(folder)
            (folder / BEGIN).touch()
            _, errors = run.communicate(timeout=300)
        finally:
            run.kill()
    assert run.returncode == 0, errors[-3000:]
    found = json.loads((folder / "found.json").read_text())
    for scenario in ("equal", "resumed", "guide"):
        for process in found[scenario]:
            assert process.get("code") == 0, f"{scenario}: {process.get('said', 'did not end')[-3000:]}"
    resume.after(folder)
