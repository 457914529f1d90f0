"""A table that is really trained: killed on the way it ends with the results of one that was not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import NOT_COMPARED

COMMAND = ("reproduce", "bag-of-tricks/table8", "--data", "synthetic", "--no-probe", "--device", "cpu")


def start(out: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tailwise", *COMMAND, "--out", str(out), *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=out.parent)


def ledger_of(out: Path) -> dict[tuple[str, int], dict[str, Any]]:
    entries = [json.loads(file.read_text()) for file in (out / "ledger").rglob("*.json")]
    left_out = (*NOT_COMPARED, "spec")
    return {
        (entry["recipe"], entry["seed"]): {key: value for key, value in entry.items() if key not in left_out}
        for entry in entries
    }


@pytest.mark.slow
def test_a_table_killed_on_the_way_ends_as_one_that_was_not(tmp_path: Path) -> None:
    more = ("--rows", "ce,cb-focal,cs-ce", "--seeds", "1", "--epochs", "10", "--checkpoint-seconds", "0")
    whole = start(tmp_path / "whole", *more)
    assert whole.communicate(timeout=600)[0]
    assert whole.returncode == 0
    cut = start(tmp_path / "cut", *more)
    deadline = time.monotonic() + 300
    # In the midst of the second run: one is finished, another has a checkpoint and no result.
    while time.monotonic() < deadline:
        runs = list((tmp_path / "cut" / "runs").glob("*/seed0"))
        begun = [run for run in runs if list(run.glob("checkpoints/step-*")) and not (run / "result.json").exists()]
        if begun and any((run / "result.json").exists() for run in runs):
            break
        time.sleep(0.02)
    os.kill(cut.pid, signal.SIGKILL)
    cut.communicate()
    assert cut.returncode == -signal.SIGKILL
    again = start(tmp_path / "cut", *more)
    text = again.communicate(timeout=600)[0]
    assert again.returncode == 0, text
    assert "3 runs, 1 of them in the ledger, 2 to train" in text
    assert "going on from step" in text
    assert text.count("goes on after the first stage of a recipe that begins alike") == 1
    assert ledger_of(tmp_path / "cut") == ledger_of(tmp_path / "whole")
    assert len(ledger_of(tmp_path / "cut")) == 3
