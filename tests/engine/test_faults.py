"""kill -9 at random moments of packing and of a run with stages: gone on with, the end is an undisturbed one."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tailwise.core.spec import to_yaml
from tests.helpers import metrics_of, result_of, same_weights, tiny_recipe, weights_of
from tests.unit.deliver.conftest import make_images

#: Kills in each test; each costs a start and at most LATEST seconds.
KILLS = int(os.environ.get("TAILWISE_KILLS", "20"))
EARLIEST, LATEST = 1.0, 12.0


def run_to_its_end(command: list[str], moments: random.Random) -> int:
    """Runs a command, killed at random moments and given again, then to its end; how many kills found it running."""
    hit = 0
    for _ in range(KILLS):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            out, _ = process.communicate(timeout=moments.uniform(EARLIEST, LATEST))
            assert process.returncode == 0, out.decode()[-2000:]
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            hit += 1
    last = subprocess.run(command, capture_output=True, text=True, check=False)
    assert last.returncode == 0, last.stderr
    return hit


@pytest.mark.slow
def test_a_two_stage_run_killed_at_random_moments_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    recipe = tiny_recipe("crt", epochs=300, checkpoint_seconds=0.0)
    assert len(recipe.stages) == 2
    (tmp_path / "r.yaml").write_text(to_yaml(recipe))
    train = [sys.executable, "-m", "tailwise", "train", str(tmp_path / "r.yaml"), "--out"]
    subprocess.run([*train, str(tmp_path / "whole")], check=True, capture_output=True)
    # With --resume from the first start on: a kill before the first checkpoint is gone on with as well.
    assert run_to_its_end([*train, str(tmp_path / "cut"), "--resume"], random.Random(0)) >= 1
    assert same_weights(weights_of(tmp_path / "whole"), weights_of(tmp_path / "cut"))
    assert metrics_of(tmp_path / "whole") == metrics_of(tmp_path / "cut")
    assert result_of(tmp_path / "whole") == result_of(tmp_path / "cut")


@pytest.mark.slow
def test_packing_killed_at_random_moments_ends_in_a_whole_pack(tmp_path: Path) -> None:
    images = make_images(tmp_path / "zoo", {"train": (900, 300, 100), "val": (100, 100, 100)})
    pack = [sys.executable, "-m", "tailwise", "data", "pack", str(images), "--size", "64", "--workers", "1", "--out"]
    assert run_to_its_end([*pack, str(tmp_path / "cut")], random.Random(1)) >= 1
    verify = [sys.executable, "-m", "tailwise", "data", "pack", "--verify", str(tmp_path / "cut")]
    checked = subprocess.run(verify, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
