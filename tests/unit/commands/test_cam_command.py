"""`tailwise data cam`: a contact sheet of a finished run."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tailwise.analysis.cam_sheet import SheetRow, cam_sheet
from tailwise.cli import main
from tailwise.engine.train import train
from tests.helpers import tiny_recipe


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = tiny_recipe("cam-balance-sampling")
    recipe = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, imbalance_factor=4.0))
    return train(recipe, tmp_path_factory.mktemp("run") / "run")


def test_the_sheet_is_written_beside_the_run_and_is_the_same_every_time(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "cam", str(run), "--images", "4"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("4 training images, maps of a network with ")
    assert f"picture: {run / 'cam.png'}" in said
    first = np.asarray(Image.open(run / "cam.png").convert("RGB"))
    assert first.std() > 20
    other = tmp_path / "new" / "other.png"
    assert main(["data", "cam", str(run), "--images", "4", "--out", str(other)]) == 0
    assert other.read_bytes() == (run / "cam.png").read_bytes()
    assert main(["data", "cam", str(run), "--images", "4", "--seed", "1", "--out", str(other)]) == 0
    assert other.read_bytes() != (run / "cam.png").read_bytes()


def test_every_transform_has_a_column_and_every_image_a_row() -> None:
    image = np.zeros((3, 4, 4), dtype=np.uint8)
    composed = {name: image for name in ("flip", "rotate_scale")}
    row = SheetRow("a cat", ("few", "3 images"), image, np.zeros((4, 4), np.float32), np.eye(4, dtype=bool), composed)
    figure = cam_sheet([row, row, row], "title")
    assert len(figure.axes) == 3 * 5
    assert [axes.get_title() for axes in figure.axes[:5]] == ["image", "map", "foreground", "flip", "rotate and scale"]
    # Four cells on a diagonal have sixteen edges.
    (outline,) = figure.axes[2].collections
    assert len(outline.get_paths()) == 16
    assert [text.get_text() for text in figure.axes[5].texts] == ["a cat", "few\n3 images"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--images", "0"], "--images must be at least 1, got 0"),
        (["--seed", "-1"], "--seed must be at least 0, got -1"),
    ],
)
def test_wrong_numbers_are_refused(
    run: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "cam", str(run), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_what_is_no_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "cam", str(tmp_path / "nothing")]) == 2
    assert f"no such run folder: {tmp_path / 'nothing'}" in " ".join(capsys.readouterr().err.split())
    assert main(["data", "cams"]) == 2
    assert "unknown data command 'cams'; did you mean 'cam'? allowed: cam, card, features, pack".replace(
        "?", "?;"
    ) in " ".join(capsys.readouterr().err.split())
