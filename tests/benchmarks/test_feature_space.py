"""The benchmark of feature space augmentation measures every row; how fast they are is not a test's business."""

from __future__ import annotations

from pathlib import Path

from benchmarks.feature_space import Options, measure


def test_every_row_is_measured(tmp_path: Path) -> None:
    options = Options(backbone="resnet20", width=0.25, size=8, tail_images=2, steps=2, repeats=1, device="cpu")
    table, notes = measure(options, tmp_path)
    assert [row[:2] for row in table.rows] == [
        ("balanced fine-tuning, images", "eager"),
        ("feature space augmentation, images", "eager"),
        ("balanced fine-tuning, features", "eager"),
        ("feature space augmentation, features", "eager"),
    ]
    assert all(float(row[2]) > 0 for row in table.rows)
    assert [row[3] for row in table.rows[::2]] == ["1.00", "1.00"]
    assert "no GPU" in notes[1]
