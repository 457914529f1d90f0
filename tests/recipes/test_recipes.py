"""Every recipe on every kind of data resolves, hashes, round-trips, builds and runs a few steps."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from tailwise.core.registry import REGISTRY
from tailwise.core.spec import from_yaml, to_yaml
from tailwise.core.stats import ClassStats
from tailwise.engine.recipe import Recipe
from tailwise.engine.task import Task
from tailwise.engine.train import train
from tailwise.engine.trainable import select_trainable
from tailwise.recipes.base import base_recipe, make_recipe, recipe_names, replace_stage
from tests.helpers import result_of, tiny_recipe

BASES = {
    "digits": base_recipe("digits"),
    "cifar10": base_recipe("cifar10"),
    "small folder": base_recipe("folder", Path("x"), 32),
    "large folder": base_recipe("folder", Path("x"), 224),
}
CELLS = [(name, base) for name in recipe_names() for base in BASES]


@pytest.mark.parametrize(("name", "base"), CELLS)
def test_a_cell_resolves_round_trips_and_builds(name: str, base: str) -> None:
    recipe = make_recipe(name, BASES[base])
    assert recipe.name == name
    assert from_yaml(Recipe, to_yaml(recipe), "") == recipe
    with torch.device("meta"):
        task = Task(recipe, ClassStats([50, 20, 10]))
    for stage in recipe.stages:
        task.check(stage)
        task.enter(stage)
        select_trainable(task.network, stage)
    for posthoc in recipe.evaluate.posthoc:
        posthoc.check(task.network.head)
    assert sum(item.numel() for item in task.network.parameters()) > 10_000


def test_cells_that_differ_have_different_hashes() -> None:
    hashes = {make_recipe(name, base).hash for name in recipe_names() for base in BASES.values()}
    assert len(hashes) == len(CELLS)


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_runs_a_few_steps(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tailwise.engine.result.draw", lambda folder: None)  # most of the time of so short a run
    recipe = tiny_recipe(name, epochs=3)  # as many as the recipe with the most stages needs
    # Long-tailed, because groups of classes are undefined where all classes are equally large.
    recipe = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, imbalance_factor=10.0))
    for number in range(len(recipe.stages)):
        recipe = replace_stage(recipe, number, steps=3 if number == 0 else 1)
    result = result_of(train(recipe, tmp_path / "run"))
    assert result["finished"]
    assert result["steps"] == 2 + len(recipe.stages)
    assert sum(map(sum, result["confusion"])) == 40
    assert list(result["posthoc"]) == [posthoc.label for posthoc in recipe.evaluate.posthoc]


def test_bf16_and_an_average_of_weights_train(tmp_path: Path) -> None:
    recipe = dataclasses.replace(tiny_recipe(epochs=4), precision="bf16", ema=0.5)
    result = result_of(train(recipe, tmp_path / "run"))
    assert result["precision"] == "bf16"
    assert result["last"]["top1"] > 50


def test_every_recipe_has_a_paper_and_a_summary() -> None:
    for entry in REGISTRY.entries("recipes"):
        assert entry.paper
        assert entry.summary.endswith(".")
