"""`tailwise data features`: points of a finished run's features; and the page of a run in two stages."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tailwise.cli import main
from tailwise.engine.train import train
from tailwise.recipes.base import replace_stage
from tests.helpers import tiny_recipe


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = tiny_recipe("feature-space-augmentation", epochs=2)
    recipe = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, imbalance_factor=10.0))
    return train(replace_stage(recipe, 1, steps=3), tmp_path_factory.mktemp("run") / "run")


def test_the_picture_is_written_beside_the_run(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "features", str(run), "--classes", "3", "--images", "6"]) == 0
    said = capsys.readouterr().out
    assert said == f"18 evaluation images of 3 classes\npicture: {run / 'features.png'}\n"
    assert np.asarray(Image.open(run / "features.png").convert("RGB")).std() > 5


def test_the_page_shows_what_the_last_stage_changed(run: Path) -> None:
    page = (run / "report.html").read_text()
    assert "feature-space-augmentation: the last stage" in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--classes", "1"], "--classes must be at least 2, got 1"),
        (["--images", "1"], "--images must be at least 2, got 1"),
        (["--seed", "-1"], "--seed must be at least 0, got -1"),
    ],
)
def test_numbers_out_of_range_are_refused(
    run: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(["data", "features", str(run), *arguments]) == 2
    assert message in capsys.readouterr().err
