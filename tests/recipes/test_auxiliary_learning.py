"""Every row of the tables of zhang2019balance resolves, shows as many images as it should and runs; printed numbers."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from tailwise.core.registry import REGISTRY
from tailwise.core.spec import from_yaml, to_yaml
from tailwise.core.stats import ClassStats
from tailwise.engine.optim import factor_of
from tailwise.engine.recipe import Recipe
from tailwise.engine.schedule import Cosine
from tailwise.engine.task import Task
from tailwise.engine.train import train
from tailwise.heads.multi import Multi
from tailwise.recipes.auxiliary_learning.settings import cifar_lt, imagenet_lt, places_lt
from tailwise.recipes.base import make_recipe, replace_stage, replace_stream
from tailwise.report.paper import Table
from tailwise.samplers import PerClass
from tests.helpers import result_of, tiny_recipe

TABLES: dict[int, Table] = {
    table.number: table for entry in REGISTRY.entries("tables") if (table := entry.target()).paper == "zhang2019balance"
}
CELLS = [
    pytest.param(table, row.name, column.key, id=f"{table.number}-{row.name}-{column.key}")
    for table in TABLES.values()
    for row in table.rows
    if row.paper is not None
    for column in table.columns
    if column.measure == "all"
]
#: Each row once; what stands in several tables is one row.
ROWS = {
    "rrs-only": (1, 128),
    "cbs-only": (1, 128),
    "cbs-rrs": (1, 256),
    "cbs-rrs-ss": (1, 512),
    "ft-rrs-cbs": (3, 128),
    "weights-1-1": (4, 256),
    "weights-1-0.5": (4, 256),
    "rotation-augmentation": (5, 1024),
}


def test_the_tables_and_their_rows_are_those_of_the_paper() -> None:
    assert {number: len(table.rows) for number, table in TABLES.items()} == {1: 11, 2: 9, 3: 4, 4: 5, 5: 3}
    assert {table.metric for table in TABLES.values()} == {"top1_accuracy"}
    assert [(column.key, column.measure) for column in TABLES[1].columns[3:6]] == [
        ("imagenet-lt-resnet10-all", "all"),
        ("places-lt-resnet152-many", "many"),
        ("places-lt-resnet152-medium", "medium"),
    ]
    cited = {row.name for table in TABLES.values() for row in table.rows if row.paper is None}
    assert cited == {
        "lifted", "focal", "range", "cost-sensitive", "fslwf", "memorynet", "memorynet-rerun", "triplet", "proxy"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("number", "row", "expected"),
    [
        (1, "memorynet", (43.2, 35.1, 18.5, 35.6, 44.7, 37.0, 25.3, 35.9)),
        (1, "cbs-rrs", (51.0, 38.5, 21.0, 40.9, 42.5, 40.3, 32.2, 39.4)),
        (1, "cbs-rrs-ss", (52.4, 39.5, 21.0, 41.9, 42.5, 40.6, 32.6, 39.6)),
        (2, "cbs-only", (51.1, 38.2, 16.7, 40.1, 32.1, 22.9, 4.6, 22.4)),
        (2, "cbs-rrs-ss", (60.2, 44.0, 23.1, 47.3, 35.8, 31.0, 12.7, 28.9)),
        (3, "ft-rrs-cbs", (48.3, 35.2, 16.4, 37.6, 29.3, 27.6, 10.3, 24.6)),
        (4, "weights-1-0.5", (46.0, 35.5, 17.8, 37.0, 34.9, 26.9, 6.9, 25.6)),
        (5, "rotation-augmentation", (50.5, 39.1, 22.1, 41.0, 35.3, 28.2, 11.4, 27.2)),
    ],
)
def test_printed_numbers(number: int, row: str, expected: tuple[float, ...]) -> None:
    assert TABLES[number].row(row).expected == expected


@pytest.mark.parametrize(("table", "row", "column"), CELLS)
def test_a_cell_resolves_round_trips_and_builds(table: Table, row: str, column: str) -> None:
    recipe = table.recipe(row, column)
    assert from_yaml(Recipe, to_yaml(recipe), "") == recipe
    assert recipe.evaluate.shots == "oltr"
    measures = {
        item.measure: table.recipe(row, item.key).hash for item in table.columns if item.key[:-4] == column[:-4]
    }
    assert set(measures.values()) <= {recipe.hash}
    # The weights of the pretrained network would have to be fetched.
    recipe = dataclasses.replace(recipe, backbone=dataclasses.replace(recipe.backbone, pretrained=False))
    recipe = dataclasses.replace(recipe, backbone=dataclasses.replace(recipe.backbone, name="resnet10"))
    with torch.device("meta"):
        task = Task(recipe, ClassStats([50] * 40))
    for stage in recipe.stages:
        task.check(stage)
        task.enter(stage)
        assert set(task.network.head.names) >= {name for part in stage.objective for name in part.heads}


@pytest.mark.parametrize("row", ROWS)
def test_a_step_shows_as_many_images_as_it_should(row: str) -> None:
    number, images = ROWS[row]
    table = TABLES[number]
    assert table.recipe(row, table.columns[0].key).stages[0].images_per_step == images


def test_rows_that_the_paper_calls_equal_are_one_recipe() -> None:
    key = "imagenet-lt-resnet10-all"
    for left, right in (
        ((1, "rrs-only"), (4, "weights-0-1")),
        ((1, "cbs-only"), (4, "weights-1-0")),
        ((1, "cbs-rrs"), (4, "weights-0.5-1")),
        ((3, "cbs-rrs"), (5, "without-rotation")),
        ((1, "cbs-rrs-ss"), (5, "cbs-rrs-ss")),
    ):
        assert TABLES[left[0]].recipe(left[1], key).hash == TABLES[right[0]].recipe(right[1], key).hash
        assert TABLES[left[0]].row(left[1]).expected[:4] == TABLES[right[0]].row(right[1]).expected[:4]
    assert len({TABLES[number].recipe(row, key).hash for row, (number, _) in ROWS.items()}) == len(ROWS)


@pytest.mark.parametrize(
    "row", [pytest.param(row, marks=[] if row == "cbs-rrs-ss" else [pytest.mark.slow]) for row in ROWS]
)
def test_a_row_runs(row: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tailwise.engine.result.draw", lambda folder: None)  # most of the time of so short a run
    base = replace_stream(tiny_recipe(epochs=3), 0, batch=16)
    base = dataclasses.replace(base, head=Multi(auxiliary=False, hidden=8))
    recipe = make_recipe(f"auxiliary-learning/table{ROWS[row][0]}/{row}", base)
    for number in range(len(recipe.stages)):
        recipe = replace_stage(recipe, number, steps=3 if number == 0 else 1)
    result = result_of(train(recipe, tmp_path / "run"))
    assert result["finished"]
    assert result["steps"] == 2 + len(recipe.stages)


def test_settings() -> None:
    for recipe, name, epochs in (
        (imagenet_lt(), "resnet10", 90),
        (imagenet_lt("resnet50"), "resnet50", 90),
        (places_lt("resnet50"), "resnet50", 90),
        (places_lt(), "resnet152.tv_in1k", 30),
    ):
        assert (recipe.backbone.name, recipe.epochs) == (name, epochs)
        assert recipe.head == Multi(auxiliary=False, hidden=512)
        optim = recipe.stages[0].optim
        assert optim is not None
        assert optim.schedule == Cosine()
        pretrained = name.startswith("resnet152")
        assert recipe.backbone.pretrained == pretrained
        assert optim.lr * factor_of(optim, "backbone.network.conv1.weight") == pytest.approx(
            0.001 if pretrained else 0.1
        )
        assert factor_of(optim, "head.shared.weight") == factor_of(optim, "head.main.fc.weight") == 1
    sampler = TABLES[1].recipe("cbs-rrs", "imagenet-lt-resnet10-all").stages[0].streams["main"].sampler
    assert isinstance(sampler, PerClass)
    assert [sampler.size(128, classes) for classes in (1000, 365)] == [4, 4]


@pytest.mark.parametrize(("name", "classes", "size"), [("cifar10", 10, 16), ("cifar100", 100, 4)])
def test_settings_of_cifar(name: str, classes: int, size: int) -> None:
    recipe = make_recipe("cbs-rrs-ss", cifar_lt(name))  # type: ignore[arg-type]
    main = recipe.stages[0].streams["main"]
    assert recipe.data.imbalance_factor == 100
    assert isinstance(main.sampler, PerClass)
    assert main.sampler.size(main.batch, classes) == size
    assert main.sampler.check(ClassStats([50] * classes), main.batch) == ()
