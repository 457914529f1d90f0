"""`tailwise figure`: pictures of finished runs."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tailwise.cli import main
from tailwise.engine.train import train
from tailwise.recipes.auxiliary import with_auxiliary
from tests.helpers import tiny_recipe


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("runs")
    base = tiny_recipe(class_losses=True)
    base = dataclasses.replace(base, data=dataclasses.replace(base.data, imbalance_factor=10.0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tailwise.engine.result.draw", lambda folder: None)
        first = train(base, folder / "ce")
        second = train(dataclasses.replace(with_auxiliary(base, hidden=8), name="with-rrs"), folder / "rrs")
    return str(first), str(second)


@pytest.mark.parametrize("kind", ["gains", "weight-norms", "class-losses", "tsne"])
def test_a_figure_is_written(
    runs: tuple[str, str], kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / f"{kind}.png"
    assert main(["figure", kind, *runs, "--per-class", "6", "--out", str(out)]) == 0
    assert f"picture: {out}" in capsys.readouterr().out
    assert np.asarray(Image.open(out).convert("RGB")).std() > 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gains", "{first}"], "gains compare the last recipe with the others, and there is only ce"),
        (["gains"], "give at least one run folder"),
        (["tsne", "{first}", "--per-class", "0"], "--per-class must be at least 1, got 0"),
        (["class-losses", "{first}", "--classes", "nothing"], "no class 'nothing'; the runs have"),
        (["weight-norms", "{first}", "--out", "{folder}/a.nothing"], "cannot write"),
    ],
)
def test_messages(
    runs: tuple[str, str], arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    filled = [argument.format(first=runs[0], folder=tmp_path) for argument in arguments]
    assert main(["figure", *filled]) == 2
    assert message in capsys.readouterr().err.replace("\n", " ")
