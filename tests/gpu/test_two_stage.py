"""Stages that train the classifier alone, captured on a CUDA device, and changes of the classifier there."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tailwise.engine.recipe import Optim, Recipe
from tailwise.engine.train import train
from tailwise.posthoc import NCM, LogitAdjustment, TauNorm
from tailwise.recipes.base import replace_stage
from tailwise.recipes.stages import crt, lws
from tests.helpers import tiny_recipe, weights_of

pytestmark = pytest.mark.gpu


def on_gpu(recipe: Recipe, executor: str) -> Recipe:
    recipe = replace_stage(recipe, 0, optim=Optim(lr=0.01))
    return dataclasses.replace(recipe, run=dataclasses.replace(recipe.run, device="cuda", executor=executor))


@pytest.mark.parametrize("variant", ["paper", "official"])
@pytest.mark.parametrize("make", [crt, lws])
def test_a_captured_classifier_stage_equals_an_eager_one(tmp_path: Path, make: Any, variant: str) -> None:
    recipe = make(tiny_recipe(epochs=2), variant=variant)
    eager = weights_of(train(on_gpu(recipe, "eager"), tmp_path / "eager"))
    captured = weights_of(train(on_gpu(recipe, "captured"), tmp_path / "captured"))
    assert '"executor": "captured"' in (tmp_path / "captured" / "result.json").read_text()
    for name, value in captured.items():
        torch.testing.assert_close(value, eager[name], rtol=5e-2, atol=5e-3)


def test_changes_of_the_classifier_are_measured_on_the_device(tmp_path: Path) -> None:
    recipe = tiny_recipe(epochs=2)
    changes = (TauNorm(tau=0.0, bias="keep"), LogitAdjustment(tau=0.0), NCM())
    recipe = dataclasses.replace(recipe, evaluate=dataclasses.replace(recipe.evaluate, posthoc=changes))
    result = json.loads((train(on_gpu(recipe, "auto"), tmp_path / "run") / "result.json").read_text())
    for label in ("tau_norm(tau=0, bias='keep')", "logit_adjustment(tau=0)"):
        assert result["posthoc"][label]["confusion"] == result["confusion"]
    assert sum(map(sum, result["posthoc"]["ncm"]["confusion"])) == 40
