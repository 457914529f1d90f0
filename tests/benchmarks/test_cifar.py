"""The CIFAR benchmark measures every row; how fast they are is not a test's business."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.cifar import main


@pytest.mark.slow
def test_every_row_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = "--device cpu --epochs 1 --plain-epochs 1 --at-once 2 --width 0.25 --largest 100 --tests 2 --batch 16"
    page = tmp_path / "table.md"
    monkeypatch.setattr(
        sys, "argv", ["cifar", *options.split(), "--workers", "0", "--precision", "fp32", "--markdown", str(page)]
    )
    main()
    assert "no GPU" in capsys.readouterr().out
    lines = [line for line in page.read_text().splitlines() if line.startswith("|")]
    fields = [[field.strip() for field in line.strip("|").split("|")] for line in lines]
    assert [row[0] for row in fields[2:]] == [
        "plain loop, fp32, 0 workers",
        "eager, fp32",
        "2 runs at once, stacked, fp32",
    ]
    for row in fields[2:]:
        step, speed, epoch = (float(row[number].replace(",", "")) for number in (1, 2, 3))
        assert step > 0
        assert speed == pytest.approx(16 / (step / 1000), rel=0.02)
        assert epoch > 0
    assert fields[2][-1] == "1.00"
    assert "python -m benchmarks.cifar --device cpu" in page.read_text()
