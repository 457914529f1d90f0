"""At the end of a run, test images of its weakest classes are kept with what the network saw in them."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tailwise import train
from tailwise.analysis.cam_overlay import cam_overlay
from tailwise.core.errors import TailwiseError
from tailwise.engine import examples as engine_examples
from tailwise.engine.load import load_network
from tailwise.engine.prepare import open_splits
from tailwise.engine.recipe import Run
from tailwise.models.cam import class_activation_maps
from tests.helpers import tiny_recipe


def kept(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "examples.json").read_text())


def pixels(url: str) -> np.ndarray:
    head, _, body = url.partition(",")
    assert head in ("data:image/png;base64", "data:image/jpeg;base64")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(body))).convert("RGB"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tiny_recipe(), tmp_path_factory.mktemp("runs") / "run")


def test_the_weakest_classes_come_first(folder: Path) -> None:
    result = json.loads((folder / "result.json").read_text())
    accuracy, counts = result["last"]["per_class"], result["class_counts"]
    expected = sorted(range(4), key=lambda c: (accuracy[c], counts[c]))[:3]
    found = kept(folder)
    assert found["epoch"] == result["last"]["epoch"]
    assert [entry["label"] for entry in found["classes"]] == expected


def test_images_and_maps_are_those_of_the_saved_network(folder: Path) -> None:
    recipe, network, _ = load_network(folder)
    test = open_splits(recipe.data).test
    assert test.array is not None
    for entry in kept(folder)["classes"]:
        label = entry["label"]
        rows = np.flatnonzero(test.labels == label)
        rows = rows[np.unique(np.linspace(0, rows.size - 1, min(24, rows.size)).round().astype(int))]
        seen: list[tuple[bool, float, int, int]] = []
        images: dict[int, np.ndarray] = {}
        for row in rows.tolist():
            images[row] = np.asarray(Image.fromarray(test.array[row]).resize((8, 8), Image.Resampling.BILINEAR))
            with torch.no_grad():
                logits = network(torch.from_numpy(images[row].transpose(2, 0, 1)[None].copy()))[0]
            share, predicted = logits.softmax(0).max(0)
            right = int(predicted) == label
            seen.append((right, float(share) if right else -float(share), row, int(predicted)))
        expected = sorted(seen)[:3]
        for image, (right, share, row, predicted) in zip(entry["images"], expected, strict=True):
            assert image["predicted"] == predicted
            assert image["confidence"] == pytest.approx(100 * abs(share), abs=0.06)
            np.testing.assert_array_equal(pixels(image["image"]), images[row])
            with torch.no_grad():
                maps = network.maps(network.pixel(torch.from_numpy(images[row].transpose(2, 0, 1)[None].copy())))
                weight = network.head.classifier_weight
                level = class_activation_maps(maps, weight, torch.tensor([label]))[0].numpy()
            overlay = cam_overlay(images[row], level, 64).astype(int)
            assert np.abs(pixels(image["cam"]).astype(int) - overlay).mean() < 6  # a JPEG of it
            assert ("cam_predicted" in image) is (not right)


def test_the_page_shows_them(folder: Path) -> None:
    page = (folder / "report.html").read_text()
    for entry in kept(folder)["classes"]:
        for image in entry["images"]:
            assert image["image"] in page
            assert image["cam"] in page


def test_none_are_kept_when_none_are_wanted(tmp_path: Path) -> None:
    folder = train(tiny_recipe(examples=0), tmp_path / "run")
    assert not (folder / "examples.json").exists()
    assert "<img" not in (folder / "report.html").read_text()


def test_how_many_are_kept_does_not_change_the_hash() -> None:
    assert tiny_recipe(examples=0).hash == tiny_recipe(examples=7).hash


def test_a_negative_number_of_examples_is_refused() -> None:
    with pytest.raises(ValueError, match="examples must be at least 0, got -1"):
        Run(examples=-1)


def test_a_network_without_feature_maps_keeps_images_without_maps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any) -> None:
        raise TailwiseError("features of shape [B, D]")

    monkeypatch.setattr(engine_examples, "check_maps", refused)
    folder = train(tiny_recipe(epochs=1), tmp_path / "run")
    images = [image for entry in kept(folder)["classes"] for image in entry["images"]]
    assert images
    assert all(set(image) == {"predicted", "confidence", "image"} for image in images)


def test_both_data_paths_keep_the_same(tmp_path: Path, folder: Path) -> None:
    recipe = tiny_recipe()
    host = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, path="host", workers=0))
    assert kept(train(host, tmp_path / "host")) == kept(folder)


def test_kept_pictures_are_small(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, size=(300, 300, 3), dtype=np.uint8)
    small = engine_examples._small(noise)
    assert small.shape == (112, 112, 3)
    assert len(engine_examples._data_url(small)) < 20_000


def test_the_record_counts_images_and_memory(folder: Path) -> None:
    result = json.loads((folder / "result.json").read_text())
    assert result["images"] == 32 * result["steps"]
    assert result["memory"]["of"] == "process since it started"
    assert 20 << 20 < result["memory"]["bytes"] < 1 << 40
