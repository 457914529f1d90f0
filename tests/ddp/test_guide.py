"""The script of the guide for plain PyTorch ends with the same weights on one process and on two."""

from __future__ import annotations

import re

import pytest
import torch

from tests.ddp.conftest import Pairs
from tests.ddp.scenarios import script_of_the_guide


def weights(said: str) -> tuple[int, float]:
    found = re.search(r"(\d) processes, weights ([\d.]+)", said)
    assert found is not None, said[-3000:]
    return int(found[1]), float(found[2])


def test_the_script_ends_with_the_same_weights_on_one_process_and_on_two(
    pairs: Pairs, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    exec(compile(script_of_the_guide(), "<guide>", "exec"), {"__name__": "guide"})
    one, two = weights(capsys.readouterr().out), weights(pairs.found["guide"][0]["said"])
    assert (one[0], two[0]) == (1, 2)
    assert abs(one[1] - two[1]) < 1e-4
    assert pairs.found["guide"][1]["said"] == ""
