"""Auxiliary tasks, two passes and two learning rates in captured steps, alone and stacked."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

import pytest

from tailwise.engine.train import train, train_many
from tests.engine.test_auxiliary import auxiliary_recipe, two_rates
from tests.gpu.test_captured import executor_of, losses, on_gpu

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("forward", ["second", "joint"])
def test_captured_and_stacked_auxiliary_tasks_equal_eager_ones(
    tmp_path: Path, forward: Literal["second", "joint"]
) -> None:
    recipe = two_rates(auxiliary_recipe(forward, hidden=8, class_losses=True))
    eager = train(on_gpu(recipe, "eager"), tmp_path / "eager")
    captured = train(on_gpu(recipe, "captured"), tmp_path / "captured")
    assert executor_of(captured) == ("captured", 1)
    assert losses(captured) == pytest.approx(losses(eager), rel=1e-2)
    pair = [dataclasses.replace(on_gpu(recipe, "auto", at_once=2), seed=seed) for seed in (0, 1)]
    train_many(pair, [tmp_path / "first", tmp_path / "second"])
    assert executor_of(tmp_path / "first") == ("captured", 2)
    assert losses(tmp_path / "first") == pytest.approx(losses(eager), rel=1e-2)
