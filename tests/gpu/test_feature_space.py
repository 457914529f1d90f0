"""Feature space augmentation captured on a CUDA device, with features and with images."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from tailwise.engine.train import train
from tailwise.recipes.feature_space import at_depth, feature_space
from tests.gpu.test_two_stage import on_gpu
from tests.helpers import tiny_recipe, weights_of

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("variant", ["bank", "images", "depth"])
def test_a_captured_phase_two_equals_an_eager_one(tmp_path: Path, variant: str) -> None:
    recipe = tiny_recipe(epochs=2)
    recipe = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, imbalance_factor=10.0))
    recipe = feature_space(recipe, tail_images=4, steps=6)
    if variant == "images":
        recipe = dataclasses.replace(recipe, run=dataclasses.replace(recipe.run, features="images"))
    if variant == "depth":
        recipe = at_depth(recipe, "layer2", ("stage3",))
    eager = weights_of(train(on_gpu(recipe, "eager"), tmp_path / "eager"))
    captured = weights_of(train(on_gpu(recipe, "captured"), tmp_path / "captured"))
    assert json.loads((tmp_path / "captured" / "result.json").read_text())["executor"] == "captured"
    for name, value in captured.items():
        torch.testing.assert_close(value, eager[name], rtol=5e-2, atol=5e-3)
