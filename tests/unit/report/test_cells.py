"""Cells of every registered table resolve, are counted and are cut into shards; wrong names are answered."""

from __future__ import annotations

import dataclasses
from typing import get_args

import pytest

from tailwise.core.errors import TailwiseError
from tailwise.report.agenda import make_agenda
from tailwise.report.cells import Wish, all_tables, cells_of, find_table, read_shard, runs_of, shard_of
from tailwise.report.coverage import table_row
from tailwise.report.entries import Entries
from tailwise.report.estimate import count_images, duration, stage_images, stored_pace
from tailwise.report.paper import Table, Variant

TABLES = all_tables()
TABLE8 = find_table("bag-of-tricks/table8")


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_every_table_is_planned_without_its_images(table: Table) -> None:
    for variant in get_args(Variant):
        if not any(variant in row.variants for row in table.rows):
            continue
        cells = cells_of(table, Wish(variant=variant))
        assert len(cells) == len(table.rows) * len(table.columns)
        runs = runs_of(cells, 2)
        assert len({(run.hash, run.seed) for run in runs}) == len(runs)
        assert {run.hash for run in runs} == {cell.recipe.hash for cell in cells if cell.recipe is not None}
        if variant == "paper":
            agenda = make_agenda(cells, runs, Entries(()), {}, lambda recipe: None, "cpu")
            assert agenda.waiting == agenda.runs == tuple(runs)
            assert f"{len(runs)} runs, 0 of them in the ledger, {len(runs)} to train" in agenda.sentences[0]
            if agenda.images is not None:
                assert agenda.alone is not None
                assert 0 < agenda.images <= agenda.alone


def test_shared_stages_are_counted_once() -> None:
    cells = cells_of(TABLE8, Wish(columns=("cifar10-lt-100",)))
    agenda = make_agenda(cells, runs_of(cells, 1), Entries(()), {}, lambda recipe: (0.5, "a clock"), "cpu")
    steps = 12406 // 128  # a batch that is not full is dropped
    assert agenda.alone == 4 * 200 * steps * 128
    assert agenda.images == (200 + 200 + 40 + 40) * steps * 128
    assert f"about {duration(agenda.images * 0.5)} of training one after the other, by a clock" in agenda.sentences


def test_images_and_stages_are_counted_by_hand() -> None:
    cell = cells_of(TABLE8, Wish(rows=("cs-ce",), columns=("cifar100-lt-50",)))[0]
    assert cell.recipe is not None
    assert count_images(cell.recipe.data) == 12608
    assert stage_images(cell.recipe, 12608) == [160 * 98 * 128, 40 * 98 * 128]
    assert stored_pace([], cell.recipe, "cpu") is None


def test_the_command_of_a_cell_makes_this_cell() -> None:
    cell = cells_of(TABLE8, Wish(rows=("cs-ce",), columns=("cifar10-lt-50",), variant="official", epochs=10))[0]
    assert cell.command == (
        "tailwise reproduce bag-of-tricks/table8 --rows cs-ce --columns cifar10-lt-50 --variant official --epochs 10"
    )


def test_columns_that_differ_in_a_shot_group_share_their_runs() -> None:
    column = TABLE8.columns[0]
    columns = tuple(
        dataclasses.replace(column, key=key, measure=key) for key in ("all", "many", "few")
    )  # fmt: skip
    rows = tuple(
        dataclasses.replace(row, expected=(1.0,) * 3, repository=None, repository_old=None) for row in TABLE8.rows
    )
    table = dataclasses.replace(TABLE8, columns=columns, rows=rows)
    cells = cells_of(table, Wish())
    assert len(cells) == 12
    assert len(runs_of(cells, 1)) == 4


def test_shards_are_disjoint_and_complete() -> None:
    runs = runs_of(cells_of(TABLE8, Wish()), 3)
    parts = [shard_of(runs, part, 7) for part in range(1, 8)]
    assert [run for part in parts for run in part] == runs
    assert {len(part) for part in parts} == {6, 7}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("3", "--shard must be PART/PARTS, for example 3/8, got '3'"),
        ("a/b", "--shard must be PART/PARTS, for example 3/8, got 'a/b'"),
        ("9/8", "--shard 9/8: the part must be from 1 to 8"),
        ("0/8", "--shard 0/8: the part must be from 1 to 8"),
        ("0/0", "--shard 0/0: the part must be from 1 to 1"),
    ],
)
def test_a_shard_that_is_none_is_refused(text: str, said: str) -> None:
    with pytest.raises(TailwiseError, match=said):
        read_shard(text)


def test_a_shard_without_runs_is_refused() -> None:
    runs = runs_of(cells_of(TABLE8, Wish(rows=("ce",), columns=("cifar10-lt-50",))), 1)
    with pytest.raises(TailwiseError, match="--shard 1/2 has nothing to do: there are 1 runs in all"):
        shard_of(runs, 1, 2)
    with pytest.raises(TailwiseError, match="--seeds must be at least 1, got 0"):
        runs_of(cells_of(TABLE8, Wish()), 0)


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        (Wish(rows=("cs-cee",)), "unknown row of bag-of-tricks/table8 'cs-cee'; did you mean 'cs-ce'"),
        (Wish(columns=("cifar10-lt-10",)), "'cifar10-lt-10'; did you mean 'cifar10-lt-100'"),
        (Wish(data="digits", columns=("cifar10-lt-50",)), "--data digits takes their place; give one of them"),
    ],
)
def test_wishes_that_cannot_be_met_are_answered(wish: Wish, said: str) -> None:
    with pytest.raises(TailwiseError, match=said):
        cells_of(TABLE8, wish)


def test_rows_without_anything_to_train_are_refused() -> None:
    with pytest.raises(TailwiseError, match="no row is left: reference of bag-of-tricks/table2 cannot be trained"):
        cells_of(find_table("bag-of-tricks/table2"), Wish(rows=("reference",)))
    with pytest.raises(
        TailwiseError, match=r"no row is left: under, over .* in the variant official; .* class-balanced"
    ):
        cells_of(find_table("bag-of-tricks/table7"), Wish(rows=("under", "over"), variant="official"))


def test_an_unknown_table_is_answered_with_the_nearest() -> None:
    with pytest.raises(
        TailwiseError, match="unknown table 'bag-of-tricks/table88'; did you mean 'bag-of-tricks/table8'"
    ):
        find_table("bag-of-tricks/table88")
    assert find_table("bag-of-tricks-table8").name == "bag-of-tricks/table8"


def test_a_table_that_was_never_measured_is_listed_with_its_cells() -> None:
    row = table_row(TABLE8, Entries(()))
    assert row["paper"] == {"cells": 16, "measured": 0, "seeds": 0}
    assert (row["source"], row["rows"], len(row["columns"])) == ("zhang2021bag", 4, 4)


def test_durations_are_told_in_the_unit_that_fits() -> None:
    assert [duration(value) for value in (40, 720, 20000, 100000, 300000)] == [
        "40 s",
        "12 min",
        "5.6 h",
        "28 h",
        "3.5 days",
    ]
