"""A folder that timm reads gives the logits of the run; any other is read by this library."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import tailwise
from tailwise import cli
from tailwise.core.errors import RunError
from tailwise.deliver.pretrained import save_pretrained
from tailwise.engine.train import train
from tests.helpers import tiny_recipe

Pair = tuple[Path, Path]
IMAGE = np.random.default_rng(0).integers(0, 256, (2, 3, 32, 32), dtype=np.uint8)


def of_timm(folder: Path, backbone: str) -> Path:
    recipe = tiny_recipe(epochs=1, changes=(f"backbone={backbone}",))
    return train(dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, image_size=32)), folder)


def test_timm_reads_a_folder_of_its_own_backbone_and_gives_the_same_logits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import timm

    run, out = of_timm(tmp_path / "run", "test_resnet"), tmp_path / "model"
    assert cli.main(["export", str(run), "--format", "folder", "--out", str(out), "--license", "mit"]) == 0
    assert "timm.create_model" in capsys.readouterr().out
    model = timm.create_model(f"local-dir:{out}", pretrained=True).eval()
    predictor = tailwise.load(run, "cpu")
    with torch.no_grad():
        found = model(predictor.network.pixel(torch.from_numpy(IMAGE)))
    np.testing.assert_allclose(found.numpy(), predictor.logits(IMAGE), rtol=1e-4, atol=1e-4)
    config = timm.data.resolve_model_data_config(model)
    data = predictor.recipe.data
    found_config = [tuple(config[name]) for name in ("mean", "std", "input_size")]
    assert found_config == [data.mean, data.std, (3, 32, 32)]


@pytest.mark.slow
def test_a_transformer_whose_head_differs_from_ours_is_kept_for_this_library(tmp_path: Path) -> None:
    run = of_timm(tmp_path / "run", "test_vit")
    predictor = tailwise.load(run, "cpu")
    assert not save_pretrained(predictor, tmp_path / "model")
    again = tailwise.load(tmp_path / "model", "cpu")
    np.testing.assert_array_equal(again.logits(IMAGE), predictor.logits(IMAGE))


def test_a_folder_of_our_own_backbone_predicts_as_the_run_did(run_and_images: Pair, tmp_path: Path) -> None:
    run = Path(shutil.copytree(run_and_images[0], tmp_path / "run"))
    assert cli.main(["calibrate", str(run)]) == 0
    predictor = tailwise.load(run, "cpu")
    assert not save_pretrained(predictor, tmp_path / "model", licence="apache-2.0")
    image = run_and_images[1] / "test" / "ape" / "00.png"
    (left,), (right,) = predictor.predict(image), tailwise.load(tmp_path / "model", "cpu").predict(image)
    assert (left.logits == right.logits).all()
    assert left.prediction_set == right.prediction_set
    assert json.loads((tmp_path / "model" / "config.json").read_text())["label_names"] == ["ape", "bee", "cat"]


def test_the_model_card_says_data_measures_by_group_prior_and_licences(run_and_images: Pair, tmp_path: Path) -> None:
    save_pretrained(tailwise.load(run_and_images[0], "cpu"), tmp_path / "model", data_licence="CC-BY-4.0")
    text = (tmp_path / "model" / "README.md").read_text()
    head = yaml.safe_load(text.split("---")[1])
    assert head["license"] == "unknown"
    assert head["library_name"] == "tailwise"
    assert head["pipeline_tag"] == "image-classification"
    record = json.loads((run_and_images[0] / "result.json").read_text())["last"]
    assert f"| top1 | {record['top1']:.2f} |" in text
    few = record["groups"]["few"]
    assert f"few-shot accuracy ({few['classes']} classes, {few['images']} training images)" in text
    assert "| ape | 16 |" in text
    assert "imbalance factor 4 " in text
    assert "class frequencies from 0.5714 to 0.1429" in text
    assert "not calibrated" in text
    assert "| data | CC-BY-4.0 |\n| backbone | none: trained from random weights |" in text


def test_a_folder_that_holds_something_is_left_alone(run_and_images: Pair, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.txt").write_text("x")
    with pytest.raises(RunError, match="exists and is not an empty folder; nothing was changed"):
        save_pretrained(tailwise.load(run_and_images[0], "cpu"), tmp_path / "model")
    assert [item.name for item in (tmp_path / "model").iterdir()] == ["mine.txt"]
    assert [item.name for item in tmp_path.iterdir()] == ["model"]
