"""The script of the guide for plain PyTorch ends with the same weights on one process and on two."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.docs.blocks import blocks

ROOT = Path(__file__).resolve().parents[2]


def weights(command: list[str]) -> tuple[int, float]:
    env = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    run = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
    found = re.search(r"(\d) processes, weights ([\d.]+)", run.stdout)
    assert found is not None, run.stderr[-3000:]
    return int(found[1]), float(found[2])


def test_the_script_ends_with_the_same_weights_on_one_process_and_on_two(tmp_path: Path) -> None:
    page = blocks(ROOT / "docs" / "guide" / "balanced-sampling-ddp.md")
    (script,) = [block.text for block in page if block.mark == "runnable: also with torchrun"]
    file = tmp_path / "script.py"
    file.write_text(script)
    one = weights([sys.executable, str(file)])
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    two = weights([*torchrun, str(file)])
    assert (one[0], two[0]) == (1, 2)
    assert abs(one[1] - two[1]) < 1e-4
