"""A run goes on with another number of processes than it began with.

Without BatchNorm statistics, which are those of a process's share, the number of processes changes rounding only. So
the resumed run is that of the final number of processes from its beginning, up to the rounding of float32.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.ddp.conftest import Pairs
from tests.ddp.resume import CUTS, EPOCHS, STEPS
from tests.helpers import metrics_of, result_of, weights_of


@pytest.fixture(scope="module")
def folder(pairs: Pairs) -> Path:
    return pairs.folder


@pytest.mark.parametrize("step", CUTS)
@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1)])
def test_a_resumed_run_is_that_of_the_final_number_of_processes(
    folder: Path, step: int, before: int, after: int
) -> None:
    whole, resumed = folder / f"whole-{after}", folder / f"from-{before}-at-{step}"
    assert result_of(resumed)["steps"] == EPOCHS * STEPS
    assert result_of(resumed)["world_size"] == after
    lines, expected = metrics_of(resumed), metrics_of(whole)
    epochs = [line["epoch"] for line in lines if line["event"] == "epoch"]
    assert epochs == list(range(1, EPOCHS + 1))
    assert len(lines) == len(expected)
    for line, other in zip(lines, expected, strict=True):
        assert (line["event"], line.get("step")) == (other["event"], other.get("step"))
        if line["event"] == "epoch":
            assert line["loss"] == pytest.approx(other["loss"], rel=1e-3)
    weights, wanted = weights_of(resumed), weights_of(whole)
    assert weights.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(
            weights[name], value, rtol=1e-3, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}"
        )


def test_the_number_of_processes_changes_rounding_only(folder: Path) -> None:
    one, two = weights_of(folder / "whole-1"), weights_of(folder / "whole-2")
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-3, atol=1e-5)
