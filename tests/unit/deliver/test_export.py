"""Exported networks compute the logits of the run, for any batch, and carry what their users need."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import tailwise
from tailwise import cli
from tailwise.core.errors import RunError, TailwiseError, UnknownName
from tailwise.deliver import export
from tailwise.deliver.export import export_run, read_metadata
from tailwise.engine.train import train
from tailwise.heads.base import HeadModule
from tests.helpers import tiny_recipe

Pair = tuple[Path, Path]


def random_images(batch: int, size: int = 8) -> np.ndarray:
    return np.random.default_rng(batch).integers(0, 256, (batch, 3, size, size), dtype=np.uint8)


def onnx_logits(file: Path, image: np.ndarray) -> np.ndarray:
    import onnxruntime

    return onnxruntime.InferenceSession(str(file)).run(None, {"image": image})[0]


def test_onnx_equals_pytorch_for_every_batch_and_names_classes_and_preprocessing(
    run_and_images: Pair, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "deep" / "model.onnx"
    assert cli.main(["export", str(run_and_images[0]), "--out", str(file)]) == 0
    assert f"exported: {file}" in capsys.readouterr().out
    predictor = tailwise.load(run_and_images[0], "cpu")
    for batch in (1, 2, 7):
        image = random_images(batch)
        np.testing.assert_allclose(onnx_logits(file, image), predictor.logits(image), rtol=1e-4, atol=1e-4)
    kept = read_metadata(file)
    assert kept["class_names"] == ["ape", "bee", "cat"]
    assert kept["class_counts"] == [16, 8, 4]
    assert kept["logits_prior"] == pytest.approx([4 / 7, 2 / 7, 1 / 7])
    assert kept["preprocessing"]["size"] == 8
    assert kept["preprocessing"]["crop_share_of_short_side"] == pytest.approx(1 / 1.2)
    assert [item.name for item in file.parent.iterdir()] == ["model.onnx"]


def test_a_torch_program_equals_the_network_and_has_the_same_metadata(run_and_images: Pair, tmp_path: Path) -> None:
    predictor = tailwise.load(run_and_images[0], "cpu")
    file, difference = export_run(predictor, "torch", tmp_path / "model.pt2")
    assert difference < 1e-4
    module = torch.export.load(str(file)).module()
    for batch in (1, 5):
        image = random_images(batch)
        np.testing.assert_allclose(
            module(torch.from_numpy(image)).detach().numpy(), predictor.logits(image), rtol=1e-4, atol=1e-4
        )
    assert read_metadata(file)["class_names"] == ["ape", "bee", "cat"]


@pytest.mark.slow
@pytest.mark.parametrize("change", ["head=cosine", "head=lws", "backbone=test_vit", "backbone=resnet10(width=0.1)"])
def test_heads_and_backbones_export(tmp_path: Path, change: str) -> None:
    recipe = tiny_recipe(epochs=1, changes=(change,))
    size = 32 if "vit" in change else 8
    recipe = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, image_size=size, padding=0))
    predictor = tailwise.load(train(recipe, tmp_path / "run"), "cpu")
    file, _ = export_run(predictor, "onnx")
    np.testing.assert_allclose(
        onnx_logits(file, random_images(3, size)), predictor.logits(random_images(3, size)), rtol=1e-4, atol=1e-4
    )


class _Fused(HeadModule):
    """What a head with branches could export: its sum."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.fc = torch.nn.Linear(weight.shape[1], weight.shape[0])
        self.fc.load_state_dict({"weight": weight, "bias": bias})

    def forward(self, maps: Tensor) -> dict[str, Tensor]:
        return {"main": self.fc(self.pool(maps))}

    @property
    def classifier_weight(self) -> Tensor:
        return self.fc.weight


class _Branches(HeadModule):
    """Two linear branches that are summed at test time, and an output that only training reads."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.one, self.two, self.aux = (torch.nn.Linear(features, classes) for _ in range(3))

    def forward(self, maps: Tensor) -> dict[str, Tensor]:
        x = self.pool(maps)
        return {"main": self.one(x), "other": self.two(x), "aux": self.aux(x)}

    def predict(self, outputs: Mapping[str, Tensor]) -> Tensor:
        return outputs["main"] + outputs["other"]

    @property
    def classifier_weight(self) -> Tensor:
        return self.one.weight

    def for_export(self) -> HeadModule:
        return _Fused((self.one.weight + self.two.weight).detach(), (self.one.bias + self.two.bias).detach())


def test_a_head_says_what_it_exports_and_a_wrong_one_is_not_written(
    run_and_images: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = tailwise.load(run_and_images[0], "cpu")
    predictor.network.head = _Branches(predictor.network.head.classifier_weight.shape[1], 3).eval()
    file, _ = export_run(predictor, "torch", tmp_path / "model.pt2")
    weights = torch.export.load(str(file)).state_dict
    assert sorted(name for name in weights if name.startswith("head")) == ["head.fc.bias", "head.fc.weight"]
    before = file.read_bytes()
    other = _Branches(predictor.network.head.classifier_weight.shape[1], 3)
    monkeypatch.setattr(_Branches, "for_export", lambda self: other)
    with pytest.raises(RunError, match=r"computes other logits \(by up to .*nothing was written"):
        export_run(predictor, "torch", file)
    assert file.read_bytes() == before
    assert [item.name for item in tmp_path.iterdir()] == ["model.pt2"]


def test_a_missing_extra_is_told(run_and_images: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = export.importlib.import_module

    def without(name: str) -> Any:
        if name.startswith("onnx"):
            raise ImportError(name)
        return plain(name)

    monkeypatch.setattr(export.importlib, "import_module", without)
    predictor = tailwise.load(run_and_images[0], "cpu")
    with pytest.raises(TailwiseError, match=r"needs onnx, onnxruntime, onnxscript; .*pip install 'tailwise\[export\]'"):
        export_run(predictor, "onnx")


def test_another_format_and_another_file_are_told(run_and_images: Pair, tmp_path: Path) -> None:
    predictor = tailwise.load(run_and_images[0], "cpu")
    with pytest.raises(UnknownName, match="unknown export format 'onx'; did you mean 'onnx'"):
        export_run(predictor, "onx")  # type: ignore[arg-type]
    (tmp_path / "x.onnx").write_text("no")
    with pytest.raises(RunError, match="not an exported run"):
        read_metadata(tmp_path / "x.onnx")


def test_metadata_have_the_temperature_of_a_calibrated_run(run_and_images: Pair, tmp_path: Path) -> None:
    run = Path(shutil.copytree(run_and_images[0], tmp_path / "run"))
    assert cli.main(["calibrate", str(run)]) == 0
    content = json.loads((run / "calibration.json").read_text())
    found = export.export_metadata(tailwise.load(run, "cpu"))
    assert found["temperature"] == content["temperature"]
    assert found["measures"]["groups"].keys() == {"many", "medium", "few"}
    assert json.loads(json.dumps(found)) == found
