"""Every row of the tables of zhang2021bag resolves, has the right length and runs; printed numbers are spot-checked."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import get_args

import pytest
import torch

from tailwise.core.errors import TailwiseError, UnknownName
from tailwise.core.registry import REGISTRY
from tailwise.core.spec import from_yaml, to_yaml
from tailwise.core.stats import ClassStats
from tailwise.engine.recipe import Recipe, Stage
from tailwise.engine.task import Task
from tailwise.engine.train import train
from tailwise.losses.class_balanced_focal import ClassBalancedFocal
from tailwise.losses.cost_sensitive_focal import CostSensitiveFocal
from tailwise.losses.focal import Focal
from tailwise.objectives.classification import Classification
from tailwise.recipes.base import base_recipe, make_recipe, replace_stage
from tailwise.recipes.settings import imagenet_lt, inaturalist2018, longer
from tailwise.report.paper import Column, Row, Table, Variant
from tailwise.samplers.power import Power
from tests.helpers import result_of, tiny_recipe

TABLES: dict[int, Table] = {
    table.number: table for entry in REGISTRY.entries("tables") if (table := entry.target()).paper == "zhang2021bag"
}
CELLS = [
    (table, row.name, variant)
    for table in TABLES.values()
    for row in table.rows
    for variant in get_args(Variant)
    if variant in row.variants
]


def different_on_tiny_data() -> list[Recipe]:
    """Each row and variant on made-up images; rows that stand in several tables once."""
    base = tiny_recipe(epochs=10)
    base = dataclasses.replace(base, evaluate=dataclasses.replace(base.evaluate, every=1000, last=1))
    made = [make_recipe(name, base) for table in TABLES.values() for name in table.names()]
    return list({recipe.hash: recipe for recipe in made}.values())


DIFFERENT = different_on_tiny_data()


def loss_of(stage: Stage) -> object:
    objective = stage.objective[0]
    assert isinstance(objective, Classification)
    return objective.loss


def lengths(recipe: Recipe) -> list[int]:
    return [stage.epochs for stage in recipe.stages]


def test_the_tables_and_their_rows_are_those_of_the_paper() -> None:
    assert {number: len(table.rows) for number, table in TABLES.items()} == {
        2: 2, 3: 5, 4: 6, 5: 9, 6: 5, 7: 12, 8: 4, 9: 4, 10: 2, 11: 3
    }  # fmt: skip
    assert {table.metric for table in TABLES.values()} == {"top1_error"}
    assert [column.key for column in TABLES[11].columns] == [
        "cifar10-lt-100",
        "cifar10-lt-50",
        "cifar100-lt-100",
        "cifar100-lt-50",
        "inaturalist2018",
        "imagenet-lt",
    ]


@pytest.mark.parametrize(
    ("number", "row", "expected"),
    [
        (2, "reference", (29.64, 25.19, 61.68, 56.15, 42.86, 64.40)),
        (3, "cs-ce", (29.07, 23.74, 70.92, 63.78)),
        (3, "cb-focal", (27.02, 22.03, 62.36, 57.24)),
        (4, "under", (34.14, 26.91, 67.23, 60.98)),
        (4, "progressive", (32.91, 25.03, 61.41, 57.09)),
        (5, "manifold-mixup-fc-alpha2", (27.79, 21.87, 60.21, 57.09)),
        (6, "input-mixup-fine-tuned", (26.27, 20.32, 58.21, 53.97)),
        (7, "cam-balance", (24.63, 18.60, 58.27, 54.05)),
        (7, "image-trans", (28.10, 21.60, 59.28, 55.05)),
        (8, "cs-ce", (25.31, 20.81, 58.92, 54.57)),
        (9, "cs-ce-cam-balance", (24.82, 18.96, 58.36, 54.09)),
        (10, "input-mixup", (21.88, 17.94, 53.94, 50.04)),
        (11, "fine-tuned", (19.97, 16.41, 52.17, 48.31, 29.13, 56.87)),
    ],
)
def test_printed_numbers(number: int, row: str, expected: tuple[float, ...]) -> None:
    assert TABLES[number].row(row).expected == expected


def test_numbers_of_the_repository() -> None:
    assert TABLES[8].row("cs-ce").repository == (25.18, 20.18, 58.38, 53.20)
    assert TABLES[7].row("cam-balance").repository == (23.10, 19.28, 58.05, 53.27)
    assert TABLES[3].row("cb-ce").repository_old == (29.80, 22.91, 61.50, 57.98)
    assert TABLES[11].row("fine-tuned").repository_old == (20.24, 16.44, 52.17, 47.98, None, 56.71)


def test_cells_share_a_hash_only_where_they_are_the_same_row() -> None:
    printed: dict[tuple[str, str], set[float | None]] = {}
    for table in TABLES.values():
        hashes = [
            (table.recipe(row.name, column.key, variant).hash, column.key, value)
            for row in table.rows
            for variant in row.variants
            for column, value in zip(table.columns, row.expected, strict=True)
        ]
        assert len({key for key, *_ in hashes}) == len(hashes)
        for key, column, value in hashes:
            printed.setdefault((key, column), set()).add(value)
    assert len(printed) > 250
    assert {key: values for key, values in printed.items() if len(values) > 1} == {}


@pytest.mark.parametrize(("table", "row", "variant"), CELLS, ids=lambda value: getattr(value, "name", value))
def test_a_row_resolves_round_trips_and_builds(table: Table, row: str, variant: Variant) -> None:
    recipe = table.recipe(row, table.columns[0].key, variant)
    assert recipe.variant == variant
    assert recipe.name in table.names()
    assert make_recipe(recipe.name, table.columns[0].base(variant)) == recipe
    assert from_yaml(Recipe, to_yaml(recipe), "") == recipe
    with torch.device("meta"):
        task = Task(recipe, ClassStats([50, 20, 10]))
    for stage in recipe.stages:
        task.check(stage)
        task.enter(stage)


@pytest.mark.parametrize(
    "recipe",
    [
        pytest.param(recipe, id=recipe.name, marks=[pytest.mark.slow] if recipe.variant == "official" else [])
        for recipe in DIFFERENT
    ],
)
def test_a_row_runs(recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tailwise.engine.result.draw", lambda folder: None)  # most of the time of so short a run
    for number in range(len(recipe.stages)):
        recipe = replace_stage(recipe, number, steps=3 if number == 0 else 1)
    result = result_of(train(recipe, tmp_path / "run"))
    assert result["finished"]
    assert result["steps"] == 2 + len(recipe.stages)


@pytest.mark.parametrize(
    ("number", "row", "paper", "official"),
    [
        (3, "cs-ce", [200], [200]),
        (5, "input-mixup-alpha1", [200], [400]),
        (6, "input-mixup-fine-tuned", [190, 10], [400, 20]),
        (7, "class-balanced", [160, 40], [160, 40]),
        (7, "cam-balance", [160, 40], [160, 40]),
        (8, "focal", [160, 40], [160, 40]),
        (9, "cs-ce-cam-balance", [160, 40], [160, 40]),
        (10, "input-mixup", [160, 40], [320, 80]),
        (11, "fine-tuned", [152, 38, 10], [320, 80, 20]),
    ],
)
def test_stages_have_the_lengths_that_are_printed_or_run(
    number: int, row: str, paper: list[int], official: list[int]
) -> None:
    table = TABLES[number]
    assert lengths(table.recipe(row, "cifar10-lt-100")) == paper
    assert lengths(table.recipe(row, "cifar10-lt-100", "official")) == official


def test_the_bag_on_cifar_as_the_code_runs() -> None:
    first, second, third = TABLES[11].recipe("fine-tuned", "cifar100-lt-50", "official").stages
    optims = [stage.optim for stage in (first, second, third)]
    assert [optim and optim.lr for optim in optims] == [0.1, 0.001, 0.001]
    # It steps its schedules before the epoch, so its 320, 40, 8 and 16 are one epoch earlier here.
    milestones = [getattr(optim and optim.schedule, "milestones", None) for optim in optims]
    assert milestones == [(319, 359), (39,), (7, 15)]
    assert [getattr(optim and optim.schedule, "gamma", None) for optim in optims] == [0.01, 0.01, 0.1]
    assert [stage.mix is not None for stage in (first, second, third)] == [True, True, False]
    samplers = [stage.streams["main"].sampler for stage in (first, second, third)]
    assert samplers == [Power(), Power(q=0.0), Power(q=0.0)]
    generated = [stage.streams["main"].generate for stage in (first, second, third)]
    assert generated == [None, REGISTRY.make("generators", "cam_official"), None]
    assert not any(stage.reset or stage.start_from for stage in (first, second, third))


def test_the_bag_on_imagenet_lt_as_the_code_runs() -> None:
    recipe = TABLES[11].recipe("fine-tuned", "imagenet-lt", "official")
    assert lengths(recipe) == [160, 40, 20]
    assert [stage.optim and stage.optim.lr for stage in recipe.stages] == [0.2, 0.002, 0.002]
    assert getattr(recipe.stages[0].optim and recipe.stages[0].optim.schedule, "milestones", None) == (119, 159)
    assert getattr(recipe.stages[1].streams["main"].generate, "cap", None) == 100
    other = TABLES[11].recipe("fine-tuned", "inaturalist2018", "official")
    assert getattr(other.stages[1].streams["main"].generate, "cap", None) == 50


def test_settings_of_full_size_images() -> None:
    printed, run = imagenet_lt(), imagenet_lt("official")
    assert (printed.backbone.name, inaturalist2018().backbone.name) == ("resnet10", "resnet50")
    assert (printed.epochs, run.epochs) == (90, 100)
    assert (printed.data.color_jitter, run.data.color_jitter) == (0.0, 0.4)
    optims = [recipe.stages[0].optim for recipe in (printed, run)]
    assert [getattr(optim and optim.schedule, "milestones", None) for optim in optims] == [(30, 60, 80), (60, 80)]
    assert [(optim and optim.lr, optim and optim.weight_decay) for optim in optims] == [(0.2, 1e-4)] * 2
    assert printed.stages[0].streams["main"].batch == 512


def test_the_code_steps_early_and_warms_up_from_a_third() -> None:
    recipe = TABLES[8].recipe("cs-ce", "cifar10-lt-50", "official")
    assert recipe.stages[0].optim is not None
    assert recipe.stages[1].optim is None
    schedule = recipe.stages[0].optim.schedule
    factors = [schedule.factor(epoch, 0.0, 200) for epoch in (0, 3, 4, 158, 159, 178, 179)]
    assert factors == pytest.approx([7 / 15, 13 / 15, 1, 1, 1e-2, 1e-2, 1e-4])


@pytest.mark.parametrize(
    ("column", "beta", "gamma"),
    [
        ("cifar10-lt-100", 0.9999, 1.0),
        ("cifar10-lt-50", 0.9999, 2.0),
        ("cifar100-lt-100", 0.9, 1.0),
        ("cifar100-lt-50", 0.99, 1.0),
    ],
)
def test_class_balanced_focal_loss_has_the_settings_of_the_code(column: str, beta: float, gamma: float) -> None:
    wanted = ClassBalancedFocal(beta=beta, gamma=gamma)
    assert loss_of(TABLES[3].recipe("cb-focal", column).stages[0]) == wanted
    assert loss_of(TABLES[8].recipe("cb-focal", column).stages[1]) == wanted
    assert loss_of(TABLES[8].recipe("cb-focal", column, "official").stages[0]) == Focal(gamma=gamma)


def test_deferred_focal_loss_differs_between_print_and_code() -> None:
    printed, run = (TABLES[8].recipe("focal", "cifar10-lt-100", variant).stages for variant in get_args(Variant))
    assert [type(loss_of(stage)).__name__ for stage in printed] == ["CrossEntropy", "Focal"]
    assert [loss_of(stage) for stage in run] == [Focal(), CostSensitiveFocal()]


def test_a_row_is_a_recipe_by_its_name() -> None:
    base = base_recipe("digits")
    recipe = make_recipe("bag-of-tricks/table8/cs-ce", base)
    assert recipe.name == "bag-of-tricks/table8/cs-ce"
    assert recipe.hash == make_recipe("drw-cs-ce", base).hash
    assert recipe.variant == "own"


def test_messages_for_rows_that_are_not_there() -> None:
    base = base_recipe("digits")
    with pytest.raises(UnknownName) as unknown:
        make_recipe("bag-of-tricks/table9/csce", base)
    assert str(unknown.value) == (
        "unknown row of bag-of-tricks/table9 'csce'; did you mean 'cs-ce'?; allowed: cam-balance, "
        "cam-balance-official, ce, ce-official, cs-ce, cs-ce-cam-balance, cs-ce-cam-balance-official, cs-ce-official"
    )
    with pytest.raises(UnknownName, match="unknown table of a paper 'bag-of-trick-table9'; did you mean"):
        make_recipe("bag-of-trick/table9/cs-ce", base)
    with pytest.raises(TailwiseError) as cited:
        make_recipe("bag-of-tricks/table2/reference", base)
    assert str(cited.value) == (
        "bag-of-tricks/table2/reference holds numbers that the paper cites; there is nothing to train"
    )
    with pytest.raises(TailwiseError) as unpublished:
        TABLES[4].recipe("over", "cifar10-lt-100", "official")
    assert str(unpublished.value) == (
        "the authors published no code for bag-of-tricks/table4/over; train its variant paper"
    )
    with pytest.raises(UnknownName, match="unknown column of bag-of-tricks/table4 'cifar10-lt'; did you mean"):
        TABLES[4].recipe("over", "cifar10-lt")


def test_a_table_refuses_rows_that_do_not_fit() -> None:
    columns = (Column("a", "A", imagenet_lt),)
    with pytest.raises(ValueError, match=r"x/y has two rows of one name: r, r"):
        Table("p", "x/y", 1, "t", columns, (Row("r", "R", None, (1.0,)), Row("r", "R", None, (1.0,))))
    with pytest.raises(ValueError, match=r"x/y/r has 2 numbers for 1 columns"):
        Table("p", "x/y", 1, "t", columns, (Row("r", "R", None, (1.0, 2.0)),))
    with pytest.raises(ValueError, match=r"variant must be paper or official, got 'own'"):
        imagenet_lt("own")  # pyright: ignore[reportArgumentType]


def test_longer_stretches_milestones_and_keeps_the_warm_up() -> None:
    recipe = TABLES[5].recipe("input-mixup-alpha2", "cifar10-lt-100", "official")
    schedule = recipe.stages[0].optim and recipe.stages[0].optim.schedule
    assert dataclasses.asdict(schedule) == {  # pyright: ignore[reportArgumentType, reportCallIssue]
        "milestones": (319, 359),
        "gamma": 0.01,
        "warmup_epochs": 5,
        "warmup": "third",
    }
    with pytest.raises(ValueError, match=r"expected a recipe with one stage, got 2 stages"):
        longer(TABLES[8].recipe("cs-ce", "cifar10-lt-100"), 400)
