"""Every row of the tables of chu2020feature resolves, has the printed settings and runs; numbers are spot-checked."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from tailwise import load_recipe
from tailwise.augment.feature_space import FeatureSpace
from tailwise.core.errors import TailwiseError
from tailwise.core.registry import REGISTRY
from tailwise.core.spec import from_yaml, to_yaml
from tailwise.core.stats import ClassStats
from tailwise.engine.recipe import Recipe
from tailwise.engine.rescale import with_epochs
from tailwise.engine.task import Task
from tailwise.engine.train import train
from tailwise.engine.trainable import select_trainable
from tailwise.recipes.base import base_recipe, make_recipe, replace_stage
from tailwise.recipes.feature_space import at_depth, feature_space
from tailwise.report.paper import Table
from tests.helpers import result_of, tiny_recipe

TABLES: dict[str, Table] = {
    entry.name.removeprefix("feature-space-augmentation-"): entry.target()
    for entry in REGISTRY.entries("tables")
    if entry.paper == "chu2020feature"
}
ROWS = [(table, row.name) for table in TABLES.values() for row in table.rows if row.paper is not None]
#: One row of each kind runs in every test run, the others in the slow ones.
FAST = {"table1/ours", "table1/cb-0.999", "figure9/no-aug", "figure9/block3"}


def test_the_tables_and_their_rows_are_those_of_the_paper() -> None:
    assert {name: (len(table.rows), len(table.columns)) for name, table in TABLES.items()} == {
        "table1": (9, 10), "table2": (9, 10), "table3": (8, 8), "table4": (9, 2),
        "figure8": (8, 10), "figure9": (5, 10), "sweep-tau": (5, 10), "sweep-draws": (6, 10),
    }  # fmt: skip
    assert {table.metric for table in TABLES.values()} == {"top1_accuracy"}
    assert [column.key for column in TABLES["table1"].columns][::5] == [
        "cifar10-lt-10-resnet18",
        "cifar10-lt-10-resnet34",
    ]
    assert [column.measure for column in TABLES["table3"].columns] == ["many", "medium", "few", "all"] * 2


@pytest.mark.parametrize(
    ("table", "row", "column", "expected"),
    [
        ("table1", "baseline", "cifar10-lt-200-resnet18", 70.22),
        ("table1", "ours", "cifar10-lt-200-resnet18", 77.06),
        ("table1", "ours", "cifar10-lt-100-resnet34", 82.06),
        ("table1", "cb-0.999", "cifar10-lt-100-resnet18", 76.4),
        ("table1", "focal-0.5", "cifar10-lt-20-resnet34", 87.18),
        ("table1", "sla", "cifar10-lt-100-resnet34", 80.24),
        ("table1", "sla", "cifar10-lt-100-resnet18", None),
        ("table2", "ours", "cifar100-lt-50-resnet18", 51.9),
        ("table2", "cb-0.9999", "cifar100-lt-200-resnet34", 26.63),
        ("table2", "focal-2.0", "cifar100-lt-10-resnet18", 63.37),
        ("table3", "ours", "imagenet-lt-few", 14.7),
        ("table3", "ours-focal", "places-lt-all", 36.0),
        ("table3", "oltr", "imagenet-lt-all", 35.6),
        ("table4", "ours-resnet152", "inaturalist2018", 69.08),
        ("table4", "cb-resnet50", "inaturalist2017", 58.08),
    ],
)
def test_printed_numbers(table: str, row: str, column: str, expected: float | None) -> None:
    keys = [item.key for item in TABLES[table].columns]
    assert TABLES[table].row(row).expected[keys.index(column)] == expected


@pytest.mark.parametrize(("table", "row"), ROWS, ids=lambda value: getattr(value, "name", value))
def test_a_row_resolves_round_trips_and_builds(table: Table, row: str) -> None:
    column = table.columns[0]
    recipe = table.recipe(row, column.key)
    assert make_recipe(recipe.name, column.base("paper")) == recipe
    assert from_yaml(Recipe, to_yaml(recipe), "") == recipe
    # A pretrained network has no weights to fetch here.
    recipe = dataclasses.replace(recipe, backbone=dataclasses.replace(recipe.backbone, pretrained=False))
    with torch.device("meta"):
        task = Task(recipe, ClassStats([50, 20, 10]))
    for stage in recipe.stages:
        task.check(stage)
        task.enter(stage)
        select_trainable(task.network, stage)


def test_rows_of_a_column_that_differ_have_different_hashes() -> None:
    for table in TABLES.values():
        for column in table.columns:
            hashes = [table.recipe(row.name, column.key).hash for row in table.rows if row.paper is not None]
            assert len(set(hashes)) == len(hashes)


def on_tiny_data(name: str) -> Recipe:
    base = tiny_recipe(epochs=4)
    base = dataclasses.replace(
        base,
        data=dataclasses.replace(base.data, imbalance_factor=20.0, image_size=12),
        backbone=dataclasses.replace(base.backbone, name="resnet18_small", width=0.125),
        evaluate=dataclasses.replace(base.evaluate, every=1000, last=1),
    )
    recipe = make_recipe(f"feature-space-augmentation/{name}", base)
    return dataclasses.replace(recipe, backbone=base.backbone)


def runs() -> list[Any]:
    found: dict[str, Any] = {}
    for table, row in ROWS:
        name = f"{table.name.rpartition('/')[2]}/{row}"
        if row in ("h-0.98", "draws-7-7"):
            continue  # so small a set has no such tail class, and not so many classes
        mark = [] if name in FAST else [pytest.mark.slow]
        found.setdefault(on_tiny_data(name).hash, pytest.param(name, marks=mark, id=name))
    return list(found.values())


@pytest.mark.parametrize("name", runs())
def test_a_row_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tailwise.engine.result.draw", lambda folder: None)
    recipe = on_tiny_data(name)
    for number in range(len(recipe.stages)):
        recipe = replace_stage(recipe, number, steps=2)
    result = result_of(train(recipe, tmp_path / "run"))
    assert result["finished"]
    assert result["steps"] == 2 * len(recipe.stages)


def test_phase_two_is_as_printed_on_cifar() -> None:
    recipe = TABLES["table1"].recipe("ours", "cifar10-lt-100-resnet18")
    first, second = recipe.stages
    assert (first.epochs, first.optim and first.optim.lr) == (300, 0.1)
    assert getattr(first.optim and first.optim.schedule, "milestones", None) == (150,)
    assert {name: stream.batch for name, stream in second.streams.items()} == {"tail": 16, "confusing": 48, "head": 64}
    assert second.steps == 6400
    assert second.optim is not None
    assert (second.optim.lr, second.optim.momentum, second.optim.weight_decay) == (0.001, 0.9, 0.0)
    assert [second.optim.schedule.factor(epoch, 0.5, 64) for epoch in (0, 32, 63)] == [1.0] * 3
    assert (second.trainable, second.frozen_bn, second.images) == ("head", "eval", "plain")
    assert sum(objective.weight for objective in second.objective) == 1  # pyright: ignore[reportAttributeAccessIssue]
    assert TABLES["table4"].recipe("ours-resnet50", "inaturalist2018").stages[1].steps == 200


def test_depths_train_what_comes_after_them() -> None:
    for row, frozen, trained in (("block2", "layer2", "layer3"), ("block3", "layer3", "layer4")):
        recipe = TABLES["figure9"].recipe(row, "cifar10-lt-100-resnet18")
        with torch.device("meta"):
            network = Task(recipe, ClassStats([50, 20, 10])).network
        select_trainable(network, recipe.stages[1])
        held = {name for name, item in network.named_parameters() if item.requires_grad}
        assert not any(name.startswith(f"backbone.{frozen}.") for name in held)
        assert any(name.startswith(f"backbone.{trained}.") for name in held)
        assert {"head.fc.weight", "head.fc.bias"} <= held
        assert recipe.stages[1].feature_aug == FeatureSpace(layer=frozen)
    with pytest.raises(ValueError, match="the last stage has no feature space augmentation to move"):
        at_depth(base_recipe("digits"), "layer2", ("stage3",))


def test_fewer_epochs_shorten_phase_two_in_proportion() -> None:
    recipe = with_epochs(make_recipe("feature-space-augmentation", base_recipe("cifar10")), 50)
    assert recipe.stages[0].epochs == recipe.epochs == 50
    assert recipe.stages[1].steps == 1600
    shortest = with_epochs(recipe, 1)
    assert (shortest.stages[0].epochs, shortest.stages[1].steps) == (1, 32)
    only = dataclasses.replace(recipe, stages=(replace_stage(recipe, 0, steps=10).stages[0],))
    with pytest.raises(TailwiseError) as error:
        with_epochs(only, 5)
    assert str(error.value) == "--epochs cannot rescale stages given in steps; set --stages.N.steps instead"


def test_other_thresholds_go_where_features_are_fused() -> None:
    recipe = load_recipe(
        "feature-space-augmentation", data="digits", changes=("feature_aug=feature_space(tau_specific=0.7)",)
    )
    assert [stage.feature_aug for stage in recipe.stages] == [None, FeatureSpace(tau_specific=0.7)]
    assert load_recipe("ce", data="digits", changes=("feature_aug=manifold_mixup",)).stages[0].feature_aug is not None


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"each": 0}, "each (N_a) must be at least 1, got 0"),
        ({"tail_images": 0}, "tail_images (N_t) must be at least 1, got 0"),
        ({"share": 1.0}, "share (h_r) must be above 0 and below 1, got 1.0"),
    ],
)
def test_numbers_out_of_range_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as error:
        feature_space(base_recipe("digits"), **fields)
    assert str(error.value) == message
