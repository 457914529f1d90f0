"""Class-balanced sampling by the step that the data or the batch do not allow: refused before anything is trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from tailwise import cli

FEW_CLASSES = (
    "per_class shows 16 different classes in a batch of 64 with 4 images of each, and there are 10 classes; use a "
    "batch of 40 or less, or images_per_class=8 or none"
)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--with", "sampler=per_class"], FEW_CLASSES),
        (
            ["--with", "sampler=per_class(images_per_class=7)"],
            "per_class cannot divide a batch of 64 into 7 images of each class; the nearest batch that works is 63 or "
            "70",
        ),
        (
            ["--with", "sampler=per_class(images_per_class=64)", "--imbalance", "30", "--data.max-per-class", "30"],
            "per_class draws 64 different images of each class, and the largest class has 30; use images_per_class=30 "
            "or less",
        ),
        (
            ["--stages.0.optim.lr-factors", "backbon", "0.1", "--stages.0.optim.lr-factors", "bckbone", "0.1"],
            "lr_factors has 'bckbone', which fits no parameter; names begin like backbone.conv1.weight",
        ),
    ],
)
def test_a_run_that_cannot_be_is_refused_in_one_line(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["train", "ce", "--data", "digits", "--out", str(tmp_path / "run"), *arguments]) == 2
    assert message in capsys.readouterr().err.replace("\n", " ")
    assert not (tmp_path / "run" / "metrics.jsonl").exists()
