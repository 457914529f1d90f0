"""The ImageNet benchmark trains from a pack on every path there is; how fast is not a test's business."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.imagenet import main


@pytest.mark.slow
def test_every_row_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "table.md"
    options = "--device cpu --backbones resnet10 --images 16 --classes 2 --steps 1 --epochs 1 --batch 4 --size 32"
    options += f" --pack-size 40 --workers 0 --precision fp32 --markdown {page}"
    monkeypatch.setattr(sys, "argv", ["imagenet", *options.split()])
    main()
    rows = [line.strip("|").split("|") for line in page.read_text().splitlines() if line.startswith("| resnet10")]
    assert [[field.strip() for field in row[:2]] for row in rows] == [
        ["resnet10", "plain loop, 0 workers"],
        ["resnet10", "pack, eager"],
    ]
    assert all(float(row[2].replace(",", "")) > 0 for row in rows)
    assert rows[0][-1].strip() == "1.00"
