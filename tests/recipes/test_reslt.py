"""Every row of the tables of cui2022reslt resolves, builds and has its settings; printed numbers are spot-checked."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch

from tailwise.core.errors import TailwiseError
from tailwise.core.groups import Groups
from tailwise.core.registry import REGISTRY
from tailwise.core.spec import from_yaml, to_yaml
from tailwise.core.stats import ClassStats
from tailwise.data.profiles import class_profile
from tailwise.engine.recipe import Recipe
from tailwise.engine.schedule import Cosine, MultiStep
from tailwise.engine.task import Task
from tailwise.engine.train import train
from tailwise.heads import ResLT as Head
from tailwise.objectives import Classification, ResLT
from tailwise.posthoc import TauNorm
from tailwise.recipes.base import base_recipe, make_recipe, replace_stage
from tailwise.recipes.reslt.method import OFFICIAL_ALPHA
from tailwise.report.paper import Table, Variant
from tests.helpers import result_of, tiny_recipe

TABLES: dict[str, Table] = {
    table.name.removeprefix("reslt/"): table
    for entry in REGISTRY.entries("tables")
    if (table := entry.target()).paper == "cui2022reslt"
}
CELLS = [
    (table, row.name, variant)
    for table in TABLES.values()
    for row in table.rows
    for variant in get_args(Variant)
    if variant in row.variants
]
#: One row of each kind that runs fast; the others are marked slow.
FAST = (
    "reslt/table5/reslt-official",
    "reslt/table5/reslt",
    "reslt/table1/baseline3-official",
    "reslt/figure7/separate",
)


def objective_of(recipe: Recipe) -> ResLT:
    (objective,) = recipe.stages[0].objective
    assert isinstance(objective, ResLT)
    return objective


def head_of(recipe: Recipe) -> Head:
    assert isinstance(recipe.head, Head)
    return recipe.head


def counts_for(recipe: Recipe) -> ClassStats:
    """Class counts with as many classes and about the imbalance of the column's data set."""
    if recipe.data.name in ("cifar10", "cifar100"):
        classes, most = (10, 5000) if recipe.data.name == "cifar10" else (100, 500)
        return ClassStats(class_profile("exponential", classes, most, recipe.data.imbalance_factor or 1.0))
    classes = (
        365 if recipe.backbone.name.startswith("resnet152") else 8142 if "resnet50" in recipe.backbone.name else 1000
    )
    return ClassStats(class_profile("exponential", classes, 1280, 256.0))


def test_the_tables_and_their_rows_are_those_of_the_paper() -> None:
    assert {name: (len(table.columns), len(table.rows)) for name, table in TABLES.items()} == {
        "table1": (4, 5), "table2": (2, 12), "table3": (4, 11), "table4": (4, 11), "table5": (6, 14), "table6": (12, 6),
        "table7": (8, 6), "table8": (4, 5), "table9": (2, 4),
        "figure3": (2, 6), "figure4": (2, 6), "figure5": (3, 8), "figure7": (2, 4),
    }  # fmt: skip
    assert {table.metric for table in TABLES.values()} == {"top1_accuracy"}
    assert [column.measure for column in TABLES["table6"].columns] == ["many", "medium", "few", "all"] * 3
    assert [column.key for column in TABLES["table5"].columns] == [
        f"{name}-lt-{factor}" for name in ("cifar10", "cifar100") for factor in (100, 50, 10)
    ]


@pytest.mark.parametrize(
    ("table", "row", "expected"),
    [
        ("table1", "ce", (93.60, 76.33, 68.55, 78.50)),
        ("table1", "baseline3", (86.73, 45.50, 55.33, 61.80)),
        ("table1", "reslt", (85.83, 81.47, 81.43, 83.46)),
        ("table2", "lws-mixup-pretrained", (71.4, None)),
        ("table2", "reslt-360", (70.5, None)),
        ("table2", "reslt", (70.2, 73.2)),
        ("table3", "reslt", (63.0, 50.5, 35.5, 52.9)),
        ("table3", "reslt-strong", (63.6, 55.7, 38.9, 56.1)),
        ("table4", "reslt", (39.8, 43.6, 31.4, 39.8)),
        ("table4", "oltr", (44.7, 37.0, 25.3, 35.9)),
        ("table5", "reslt", (80.44, 83.46, 89.06, 45.34, 49.98, 60.79)),
        ("table5", "reslt-strong", (82.40, 85.17, 89.70, 48.21, 52.71, 62.01)),
        ("table5", "reslt-3-experts", (None, None, None, 49.73, 54.51, 63.73)),
        ("table6", "reslt", (52.3, 41.6, 29.5, 43.8, 63.0, 50.5, 35.5, 53.0, 63.3, 53.3, 40.3, 55.1)),
        ("table7", "reslt-3", (64.0, 56.6, 44.8, 57.6, 73.0, 72.6, 73.1, 72.9)),
        ("table8", "reslt", (68.5, 69.9, 70.4, 70.2)),
        ("table9", "groups4", (80.80, 45.34)),
    ],
)
def test_printed_numbers(table: str, row: str, expected: tuple[float | None, ...]) -> None:
    assert TABLES[table].row(row).expected == expected


def test_cells_share_a_hash_only_where_they_are_the_same_setting() -> None:
    seen: dict[str, set[tuple[str, Any]]] = {}
    for table in TABLES.values():
        for column in table.columns:
            rows: list[tuple[str, Variant]] = [(row.name, variant) for row in table.rows for variant in row.variants]
            recipes = {key: table.recipe(key[0], column.key, key[1]) for key in rows}
            same = [key for key in rows if sum(other.hash == recipes[key].hash for other in recipes.values()) > 1]
            # Cross-entropy on iNaturalist and Places has one schedule in both variants.
            assert all(row in ("ce", "mixup") for row, _ in same), (table.name, same)
            for (row, _), recipe in recipes.items():
                value = table.row(row).expected[table.columns.index(column)]
                if value is not None:
                    seen.setdefault(recipe.hash, set()).add((column.measure, value))
    # One setting has one number for a measure, but for two rows of Table 3, which Table 6 prints otherwise.
    twice = [values for values in seen.values() if len({measure for measure, _ in values}) < len(values)]
    assert len(twice) == 4
    assert len(seen) > 50


@pytest.mark.parametrize(("table", "row", "variant"), CELLS, ids=lambda value: getattr(value, "name", value))
def test_a_row_resolves_round_trips_and_builds(table: Table, row: str, variant: Variant) -> None:
    for column in {column.base: column for column in table.columns}.values():
        recipe = table.recipe(row, column.key, variant)
        assert recipe.variant == variant
        assert make_recipe(recipe.name, column.base(variant)) == recipe
        assert from_yaml(Recipe, to_yaml(recipe), "") == recipe
    # Without weights from the hub; the first backbone of a table with several is enough.
    recipe = table.recipe(row, table.columns[0].key, variant)
    recipe = dataclasses.replace(recipe, backbone=dataclasses.replace(recipe.backbone, pretrained=False))
    with torch.device("meta"):
        task = Task(recipe, counts_for(recipe))
    for stage in recipe.stages:
        task.check(stage)
        task.enter(stage)
    for posthoc in recipe.evaluate.posthoc:
        posthoc.check(task.network.head)


def different_on_tiny_data() -> list[Recipe]:
    base = tiny_recipe(epochs=10)
    data = dataclasses.replace(base.data, imbalance_factor=4.0, max_per_class=40)
    base = dataclasses.replace(base, data=data, evaluate=dataclasses.replace(base.evaluate, every=1000, last=1))
    names = [name for table in TABLES.values() for name in table.names() if "groups5" not in name]
    names = [name for name in names if "pretrained" not in name]
    made = [make_recipe(name, base) for name in names]
    unique = {recipe.hash: recipe for recipe in made if recipe.name not in FAST}
    fast = {recipe.hash: recipe for recipe in made if recipe.name in FAST}
    return list({**unique, **fast}.values())


@pytest.mark.parametrize(
    "recipe",
    [
        pytest.param(recipe, id=recipe.name, marks=[] if recipe.name in FAST else [pytest.mark.slow])
        for recipe in different_on_tiny_data()
    ],
)
def test_a_row_runs(recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tailwise.engine.result.draw", lambda folder: None)
    for number in range(len(recipe.stages)):
        recipe = replace_stage(recipe, number, steps=3 if number == 0 else 1)
    result = result_of(train(recipe, tmp_path / "run"))
    assert result["finished"]
    assert result["steps"] == 2 + len(recipe.stages)


@pytest.mark.parametrize(("data", "factor"), OFFICIAL_ALPHA)
def test_settings_on_cifar_are_those_of_the_code(data: str, factor: float) -> None:
    recipe = TABLES["table5"].recipe("reslt", f"{data}-lt-{factor:g}", "official")
    optim = recipe.stages[0].optim
    assert optim is not None
    assert (optim.lr, optim.weight_decay, optim.nesterov, recipe.epochs) == (0.1, 5e-4, True, 200)
    assert optim.schedule == MultiStep(milestones=(160, 180), gamma=0.1, warmup_epochs=5, warmup="third")
    factors = [optim.schedule.factor(epoch, 0.0, 200) for epoch in (0, 4, 159, 160, 179, 180)]
    assert factors == pytest.approx([0.46667, 1, 1, 0.1, 0.1, 0.01], rel=1e-4)
    assert objective_of(recipe).alpha == OFFICIAL_ALPHA[data, factor]
    nested = objective_of(recipe).classes_of_branches(counts_for(recipe)).sum(1).tolist()
    assert nested == ([10, 8, 6] if data == "cifar10" else [100, 65, 30])
    assert head_of(recipe) == Head()
    assert make_recipe("reslt", TABLES["table5"].column(f"{data}-lt-{factor:g}").base("official")).hash == recipe.hash


def test_settings_as_printed_differ_where_the_text_does() -> None:
    recipe = TABLES["table5"].recipe("reslt", "cifar10-lt-10")
    assert objective_of(recipe) == ResLT(
        alpha=0.995, groups=Groups(rule="imbalance"), reduction="sum_of_means", epsilon=0.0
    )
    assert head_of(recipe).branch == "grouped_conv"
    assert isinstance(schedule := recipe.stages[0].optim and recipe.stages[0].optim.schedule, MultiStep)
    assert schedule.warmup == "linear"


def test_settings_on_imagenet_lt() -> None:
    table = TABLES["table6"]
    run = {name: table.recipe("reslt", f"imagenet-lt-{name}", "official") for name in ("resnet10", "resnext50", "resnext101")}  # fmt: skip  # noqa: E501
    assert [recipe.backbone.name for recipe in run.values()] == ["resnet10", "resnext50_32x4d", "resnext101_32x4d"]
    assert [recipe.stages[0].streams["main"].batch for recipe in run.values()] == [256, 256, 128]
    assert [recipe.stages[0].optim and recipe.stages[0].optim.lr for recipe in run.values()] == [0.1, 0.1, 0.05]
    assert {recipe.epochs for recipe in run.values()} == {180}
    assert [recipe.evaluate.posthoc for recipe in run.values()] == [(TauNorm(tau=tau),) for tau in (0.3, 0.7, 0.7)]
    assert [head_of(recipe).pool for recipe in run.values()] == ["before", "official", "official"]
    assert {head_of(recipe).branch for recipe in run.values()} == {"conv_bn_relu"}
    assert {objective_of(recipe).alpha for recipe in run.values()} == {0.99}
    nested = objective_of(run["resnet10"]).classes_of_branches(counts_for(run["resnet10"])).sum(1)
    assert nested.tolist() == [1000, 825, 220]
    optim = run["resnet10"].stages[0].optim
    assert optim is not None
    assert (optim.nesterov, optim.weight_decay) == (False, 5e-4)
    # 0.5 (1 + cos(pi (e - 4) / (180 - 4))) after five epochs of warm-up.
    for epoch in (5, 100, 179):
        expected = 0.5 * (1 + np.cos(np.pi * (epoch - 4) / 176))
        assert optim.schedule.factor(epoch, 0.0, 180) == pytest.approx(expected)
    assert optim.schedule.factor(2, 0.0, 180) == pytest.approx(0.6)
    assert table.recipe("reslt", "imagenet-lt-resnet10").evaluate.posthoc == ()


def test_settings_on_inaturalist_and_places() -> None:
    recipe = TABLES["table8"].recipe("reslt", "inaturalist2018", "official")
    optim = recipe.stages[0].optim
    assert optim is not None
    assert (recipe.epochs, optim.weight_decay, optim.schedule) == (200, 1e-4, Cosine())
    assert (head_of(recipe).branches, objective_of(recipe).branches, objective_of(recipe).alpha) == (2, 2, 0.85)
    nested = objective_of(recipe).classes_of_branches(counts_for(recipe)).sum(1)
    assert nested.tolist() == [8142, 6600]
    assert recipe.evaluate.posthoc == (TauNorm(tau=0.3),)
    assert recipe.data.color_jitter == 0
    printed = TABLES["table8"].recipe("reslt", "inaturalist2018")
    assert (objective_of(printed).alpha, objective_of(printed).branches) == (0.9, 3)
    assert TABLES["table2"].recipe("reslt-360", "inaturalist2018").epochs == 360
    places = TABLES["table4"].recipe("reslt", "places-lt")
    assert (places.epochs, places.backbone.name, places.backbone.pretrained) == (30, "resnet152.tv_in1k", True)
    with pytest.raises(TailwiseError, match="the authors published no code for reslt/table4/reslt"):
        TABLES["table4"].recipe("reslt", "places-lt", "official")


def test_variants_of_the_ablations() -> None:
    figure = TABLES["figure3"]
    recipes = {name: figure.recipe(name, "cifar100-lt-50", "official") for name in "abcde"}
    assert [objective_of(recipes[name]).assignment for name in "abcde"] == [
        "main_and_disjoint",
        "disjoint",
        "everything",
        "nested",
        "nested",
    ]
    assert (head_of(recipes["d"]).fusion, head_of(recipes["e"]).specialized) == ("main", False)
    baselines = [TABLES["table1"].recipe(f"baseline{number}", "cifar10-lt-50") for number in (1, 2, 3)]
    assert [head_of(recipe).fusion for recipe in baselines] == ["max", "sum", "probabilities"]
    assert {(objective_of(one).alpha, objective_of(one).assignment) for one in baselines} == {(1.0, "disjoint")}
    assert [TABLES["figure4"].recipe(f"reslt-{w}x", "cifar10-lt-50").backbone.width for w in (1, 2, 3)] == [1, 2, 3]
    assert objective_of(TABLES["figure5"].recipe("alpha1", "imagenet-lt-resnet10", "official")).alpha == 1
    plain = TABLES["figure7"].recipe("separate", "cifar10-lt-50")
    assert (head_of(plain).branch, plain.stages[0].objective) == ("separate_conv", (Classification(),))
    for number in (2, 3, 4, 5):
        recipe = TABLES["table9"].recipe(f"groups{number}", "cifar100-lt-100", "official")
        assert (head_of(recipe).branches, objective_of(recipe).branches) == (number, number)


def test_on_other_data_the_groups_are_thirds_and_the_schedule_is_in_proportion() -> None:
    recipe = make_recipe("reslt", base_recipe("digits"))
    assert objective_of(recipe).groups == Groups()
    optim = recipe.stages[0].optim
    assert optim is not None
    assert optim.schedule == MultiStep(milestones=(48, 54), gamma=0.1, warmup_epochs=4, warmup="third")
    large = make_recipe("reslt", base_recipe("folder", Path("x"), 224))
    assert (head_of(large).branch, objective_of(large).groups) == ("conv_bn_relu", Groups())
    assert make_recipe("ce-reslt-settings", base_recipe("digits")).stages[0].optim == optim
    assert make_recipe("reslt/table5/reslt-official", base_recipe("digits")).hash == recipe.hash
