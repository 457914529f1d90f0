"""Two gloo processes compute what one computes: loss, gradients, one step, batches, an evaluation without padding."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tailwise.cli import main
from tests.ddp import worker

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ddp")
    worker.main(folder)
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*torchrun, "-m", "tests.ddp.worker", str(folder)]
    run = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=240, check=False)
    assert run.returncode == 0, run.stderr[-3000:]
    return folder


@pytest.fixture(scope="module")
def found(folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    one = torch.load(folder / "world1-rank0.pt")
    return one, [torch.load(folder / f"world2-rank{rank}.pt") for rank in (0, 1)]


@pytest.mark.parametrize("case", sorted(worker.cases()))
def test_loss_gradients_and_one_step_equal_those_of_one_process(found: Any, case: str) -> None:
    one, ranks = found[0][case], [rank[case] for rank in found[1]]
    assert any(name.startswith("grad.") for name in one)
    for rank in ranks:
        assert rank.keys() == one.keys()
        for name, value in one.items():
            # The denominators are summed in float32, everything else is float64.
            error, scale = (rank[name] - value).abs().max(), value.abs().max()
            assert error <= 1e-6 * scale, f"{case}, {name}: {error} of {scale}"


def test_batches_of_both_processes_are_together_those_of_one(found: Any) -> None:
    one, ranks = found[0]["sampler"], [rank["sampler"] for rank in found[1]]
    assert one["epoch 0"].shape == (10, 8)
    assert not torch.equal(one["epoch 0"], one["epoch 1"])
    for epoch, positions in one.items():
        for number, rank in enumerate(ranks):
            assert torch.equal(rank[epoch], positions[:, number::2])


def test_the_reported_numbers_are_those_of_the_saved_model(folder: Path) -> None:
    run = folder / "run-world2"
    assert main(["evaluate", str(run), "--device", "cpu", "--out", str(folder / "again.json")]) == 0
    reported, again = json.loads((run / "result.json").read_text()), json.loads((folder / "again.json").read_text())
    assert again["confusion"] == reported["confusion"]
    assert again["nll"] == pytest.approx(reported["last"]["nll"], rel=1e-5)


def test_a_run_on_two_processes_evaluates_every_image_once(folder: Path) -> None:
    one, two = (json.loads((folder / f"run-world{world}" / "result.json").read_text()) for world in (1, 2))
    assert two["world_size"] == 2
    assert sum(map(sum, two["confusion"])) == sum(map(sum, one["confusion"])) == one["data"]["test_images"]
    assert two["recipe_hash"] == one["recipe_hash"]
    first = [
        json.loads((folder / f"run-world{world}" / "metrics.jsonl").read_text().splitlines()[0]) for world in (1, 2)
    ]
    assert first[0]["step"] == first[1]["step"]
    assert first[1]["loss"] == pytest.approx(first[0]["loss"], rel=0.5)
