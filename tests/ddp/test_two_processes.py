"""Two gloo processes compute what one computes: loss, gradients, one step, batches, an evaluation without padding."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tailwise.cli import main
from tests.ddp import equality
from tests.ddp.conftest import Pairs


@pytest.fixture(scope="module")
def folder(pairs: Pairs) -> Path:
    return pairs.folder


@pytest.fixture(scope="module")
def found(folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    one = torch.load(folder / "world1-rank0.pt")
    return one, [torch.load(folder / f"world2-rank{rank}.pt") for rank in (0, 1)]


@pytest.mark.parametrize("case", sorted(equality.cases()))
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


def test_the_reported_numbers_are_those_of_the_saved_model(folder: Path, tmp_path: Path) -> None:
    run, out = folder / "run-world2", tmp_path / "again.json"
    assert main(["evaluate", str(run), "--device", "cpu", "--out", str(out)]) == 0
    reported, again = json.loads((run / "result.json").read_text()), json.loads(out.read_text())
    assert again["confusion"] == reported["confusion"]
    assert again["nll"] == pytest.approx(reported["last"]["nll"], rel=1e-5)


def test_a_stage_with_fused_features_runs_on_two_processes(folder: Path) -> None:
    lines = (folder / "fused-world2" / "metrics.jsonl").read_text().splitlines()
    records = {record["event"]: record for record in map(json.loads, lines)}
    # The maps of both processes' shares are with each of them.
    assert records["features"]["images"] == records["confusion"]["images"] == 70
    assert json.loads((folder / "fused-world2" / "result.json").read_text())["world_size"] == 2


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
