"""`tailwise reproduce`, `list tables` and `report --table`: train once, keep, print, answer mistakes."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tailwise.cli import main
from tailwise.commands import cells, reproduce
from tailwise.commands.resolve import load_recipe
from tailwise.core.errors import DataError, TailwiseError
from tailwise.core.spec import to_yaml
from tailwise.engine.recipe import Data, Recipe
from tailwise.engine.train import Outcome
from tailwise.report.cells import all_tables
from tailwise.report.entries import Ledger
from tailwise.report.paper import Table
from tests.unit.report.fabricated import write_run

IMAGES = {"cifar10": 12406, "cifar100": 10847}


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Recipe]:
    """CIFAR's images are taken to be there, and training writes made-up numbers; what was trained is listed."""
    trained: list[Recipe] = []

    def expected(data: Data) -> tuple[str, int]:
        if data.name not in IMAGES:
            raise DataError(f"no images of {data.name}")
        return "f" * 16, IMAGES[data.name]

    def train(recipes: Sequence[Recipe], outs: Sequence[Path], **keywords: Any) -> list[Outcome]:
        for recipe, out in zip(recipes, outs, strict=True):
            recipe = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, fingerprint="f" * 16))
            data = {"name": recipe.data.name, "location": None, "fingerprint": "f" * 16, "train_images": 12406}
            skill = 2.0 + 0.2 * len(recipe.stages)
            write_run(out, recipe=recipe.name, seed=recipe.seed, skill=skill, recipe_hash=recipe.hash, data=data)
            (out / "recipe.yaml").write_text(to_yaml(recipe))
            trained.append(recipe)
        return [Outcome(recipe, out, None) for recipe, out in zip(recipes, outs, strict=True)]

    monkeypatch.setattr(cells, "expected_data", expected)
    monkeypatch.setattr(reproduce, "train_many", train)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    return trained


def error_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(arguments) == 2
    return " ".join(capsys.readouterr().err.split())


def test_what_is_in_the_ledger_is_not_trained_again(made_up: list[Recipe], capsys: pytest.CaptureFixture[str]) -> None:
    command = ["reproduce", "bag-of-tricks/table8", "--columns", "cifar10-lt-100", "--seeds", "2", "--no-probe"]
    assert main(command) == 0
    assert [(recipe.name.rpartition("/")[2], recipe.seed) for recipe in made_up] == [
        (name, seed) for seed in (0, 1) for name in ("ce", "focal", "cb-focal", "cs-ce")
    ]
    first = capsys.readouterr().out
    assert "4 cells, 4 recipes, 2 seeds: 8 runs, 0 of them in the ledger, 8 to train" in first
    shutil.rmtree("reproduced/runs")
    assert main([*command[:-3], "--seeds", "3", "--no-probe"]) == 0
    assert [recipe.seed for recipe in made_up[8:]] == [2] * 4
    second = capsys.readouterr().out
    assert "12 runs, 8 of them in the ledger, 4 to train" in second
    assert "by the times of finished runs in the ledger" in second
    # The baseline of another table is the same recipe.
    assert main(["reproduce", "bag-of-tricks/table3", "--rows", "ce", "--columns", "cifar10-lt-100", "--dry"]) == 0
    assert "3 runs, 3 of them in the ledger, 0 to train" in capsys.readouterr().out
    shutil.rmtree("reproduced/ledger")
    (run,) = [file for file in Path("reproduced/runs").rglob("result.json") if "cs-ce" in file.read_text()]
    assert main([*command[:-3], "--seeds", "3", "--rows", "cs-ce", "--no-probe"]) == 0
    assert "3 runs, 1 of them in the ledger, 2 to train" in capsys.readouterr().out, run


def test_numbers_stand_beside_the_papers_in_every_format(
    made_up: list[Recipe], capsys: pytest.CaptureFixture[str]
) -> None:
    columns = ["--columns", "cifar10-lt-100,cifar100-lt-100"]
    assert main(["reproduce", "bag-of-tricks/table8", *columns, "--seeds", "2", "--no-probe"]) == 0
    text = capsys.readouterr().out
    results = Ledger(Path("reproduced/ledger")).read().results
    errors = {
        result.seed: 100 - result.last["top1"]
        for result in results
        if result.recipe.endswith("cs-ce") and result.data["name"] == "cifar10"
    }
    mean, spread = (errors[0] + errors[1]) / 2, abs(errors[0] - errors[1]) / 2**0.5
    shown = f"{mean:.2f} ± {spread:.2f}"
    assert shown in text
    report = ["report", "--table", "bag-of-tricks/table8", *columns, "--format"]
    assert main([*report, "markdown"]) == 0
    markdown = capsys.readouterr().out
    assert markdown == Path("reproduced/bag-of-tricks-table8.md").read_text()
    assert f"| CS CE | {shown} | 2 |" in markdown
    assert "| 25.31 | 25.18 | 26.66 |" in markdown
    assert "| −4.87 |" in markdown
    assert "tailwise reproduce bag-of-tricks/table8 --rows cs-ce --columns cifar10-lt-100" in markdown
    assert main([*report, "latex"]) == 0
    latex = capsys.readouterr().out
    assert rf"CS CE & {mean:.2f} $\pm$ {spread:.2f} & 2 &" in latex
    assert latex.count(r"\\") == 1 + 2 + 8
    assert main([*report, "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    row = next(row for row in rows if row["row"] == "cs-ce")
    assert (row["column"], row["seeds"], row["paper"], row["repository_older"]) == (
        "CIFAR-10-LT, 100",
        "0 1",
        "25.31",
        "26.66",
    )
    assert float(row["ours_mean"]) == pytest.approx(mean)
    best = [100 - result.record["best_on_test"]["top1"] for result in results if result.recipe.endswith("cs-ce")]
    assert float(row["best_on_test_mean"]) == pytest.approx(sum(best) / 4)
    base = [100 - result.last["top1"] for result in results if result.recipe.endswith("/ce")]
    assert float(row["difference_mean"]) == pytest.approx(mean - sum(base) / 4)
    assert next(row for row in rows if row["row"] == "ce")["difference_mean"] == ""
    assert main([*report, "text"]) == 0
    assert shown in capsys.readouterr().out


def test_a_column_without_images_is_left_out_and_the_rest_is_done(
    made_up: list[Recipe], capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["reproduce", "bag-of-tricks/table11", "--seeds", "1", "--rows", "baseline", "--no-probe", "--columns"]
    assert main([*command, "cifar10-lt-50,imagenet-lt"]) == 1
    text = " ".join(capsys.readouterr().out.split())
    assert "not done: column imagenet-lt is left out: its images are read from list files; give --train-list" in text
    assert [recipe.data.name for recipe in made_up] == ["cifar10"]
    assert "no column is left: column imagenet-lt" in error_of(capsys, *command, "imagenet-lt")


def test_the_tables_are_listed_with_what_is_measured(made_up: list[Recipe], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "bag-of-tricks/table8", "--rows", "ce", "--seeds", "1", "--no-probe"]) == 0
    assert {recipe.data.name for recipe in made_up} == {"cifar10", "cifar100"}
    (damaged, *_) = Path("reproduced/ledger").rglob("*.json")
    capsys.readouterr()
    assert main(["list", "tables", "--json"]) == 0
    listed = {row["name"]: row for row in json.loads(capsys.readouterr().out)["tables"]}
    assert listed["bag-of-tricks/table8"]["paper"] == {"cells": 16, "measured": 4, "seeds": 4}
    assert listed["bag-of-tricks/table3"]["paper"]["measured"] == 4
    assert listed["bag-of-tricks/table8"]["official"]["measured"] == 0
    damaged.write_text("{")
    assert main(["list", "tables"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "3 of 16" in text
    assert "damaged and left out" in text
    assert main(["report", "--table", "bag-of-tricks/table8", "--rows", "ce", "--format", "markdown"]) == 0
    assert f"damaged and left out, run it again: {damaged}" in capsys.readouterr().out
    made_up.clear()
    assert main(["reproduce", "bag-of-tricks/table8", "--rows", "ce", "--seeds", "1", "--no-probe"]) == 0
    assert made_up == []  # mended from the run's folder


def test_shards_of_two_machines_make_the_whole_table(made_up: list[Recipe], capsys: pytest.CaptureFixture[str]) -> None:
    command = ["reproduce", "bag-of-tricks/table8", "--columns", "cifar10-lt-100", "--seeds", "1", "--no-probe"]
    for part in ("1", "2"):
        assert main([*command, "--shard", f"{part}/2", "--out", f"machine{part}"]) == 0
    assert len(made_up) == 4
    shutil.copytree("machine2/ledger", "machine1/ledger", dirs_exist_ok=True)
    capsys.readouterr()
    assert main([*command, "--out", "machine1", "--dry"]) == 0
    assert "4 runs, 4 of them in the ledger, 0 to train" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "reproduce takes one table, got 0"),
        (("bag-of-tricks/tabel8",), "unknown table 'bag-of-tricks/tabel8'; did you mean 'bag-of-tricks/table8'?"),
        (
            ("bag-of-tricks/table8", "--rows", "csce"),
            "unknown row of bag-of-tricks/table8 'csce'; did you mean 'cs-ce'?",
        ),
        (("bag-of-tricks/table8", "--columns", "cifar10"), "unknown column of bag-of-tricks/table8 'cifar10'"),
        (("bag-of-tricks/table8", "--shard", "9/8"), "--shard 9/8: the part must be from 1 to 8"),
        (("bag-of-tricks/table8", "--data", "digitz"), "no data set is called 'digitz'; did you mean 'digits'?"),
        (
            ("bag-of-tricks/table8", "--data", "digits", "--epochs", "1"),
            "--epochs 1 is less than the recipe's 2 stages",
        ),
        (("bag-of-tricks/table2", "--rows", "reference"), "no row is left: reference of bag-of-tricks/table2"),
    ],
)
def test_mistakes_are_answered(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert said in error_of(capsys, "reproduce", *arguments)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_variant_is_answered_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["reproduce", "bag-of-tricks/table8", "--variant", "oficial"])
    assert "official" in capsys.readouterr().err


def test_a_report_of_a_table_needs_a_ledger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    table = ("report", "--table", "bag-of-tricks/table8")
    assert "no ledger in reproduced; `tailwise reproduce bag-of-tricks/table8" in error_of(capsys, *table)
    assert "--table reads one folder, got 2" in error_of(capsys, "report", "a", "b", *table[1:])
    assert "--format latex is for a paper's table" in error_of(capsys, "report", "a", "--format", "latex")


@pytest.mark.parametrize("table", all_tables(), ids=lambda table: table.name)
def test_every_row_is_a_recipe_of_the_command_line_on_other_data(table: Table) -> None:
    for name in table.names():
        recipe = load_recipe(name, data="digits")
        assert recipe.name == name
        assert recipe.data.name == "digits"


def test_a_row_that_the_data_cannot_have_does_not_keep_the_others(
    made_up: list[Recipe], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train = reproduce.train_many

    def refuse(recipes: Sequence[Recipe], outs: Sequence[Path], **keywords: Any) -> list[Outcome]:
        if any(recipe.name.endswith("/focal") for recipe in recipes):
            raise TailwiseError("no such classes")
        return train(recipes, outs, **keywords)

    monkeypatch.setattr(reproduce, "train_many", refuse)
    command = ["reproduce", "bag-of-tricks/table8", "--columns", "cifar10-lt-100", "--seeds", "2", "--no-probe"]
    assert main(command) == 1
    assert {recipe.name.rpartition("/")[2] for recipe in made_up} == {"ce", "cb-focal", "cs-ce"}
    assert "not done: bag-of-tricks/table8/focal is left out: no such classes" in capsys.readouterr().out
