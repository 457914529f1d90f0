"""The benchmark of residual branches measures every row; how fast they are is not a test's business."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.reslt_head import main


def test_every_row_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "table.md"
    options = (
        "--device cpu --steps 3 --forwards 2 --warmup 1 --batch 4 --width 0.25 --forward-batch 1 --forward-size 32"
    )
    monkeypatch.setattr(sys, "argv", ["reslt_head", *options.split(), "--markdown", str(page)])
    main()
    assert "no GPU" in capsys.readouterr().out
    rows = [[field.strip() for field in line.strip("|").split("|")] for line in page.read_text().splitlines()[4:8]]
    assert [row[0].split(", ")[0] for row in rows] == ["ResNet-32 (width 0.25)", "ResNet-50", "ResNet-50", "ResNet-50"]
    assert [row[1] for row in rows] == ["3", "2", "2", "2"]
    for row in rows:
        assert all(float(row[number]) > 0 for number in (2, 3, 4))
        low, _, high = row[6].partition(" to ")
        assert float(low) <= float(row[5]) <= float(high)
    assert "python -m benchmarks.reslt_head --device cpu" in page.read_text()
