"""The ledger keeps every result, merges by copying, mixes no versions and names what is damaged."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from tailwise.engine.recipe import Recipe
from tailwise.report.entries import Ledger, plan_hash, result_hash
from tailwise.report.ledger import Result
from tests.unit.report.fabricated import write_run

RECIPE = Recipe(name="paper/table1/ce")


def result(
    folder: Path, seed: int, *, recipe: Recipe = RECIPE, fingerprint: str = "f" * 16, skill: float = 2.2
) -> Result:
    run = write_run(
        folder / f"{fingerprint}-{recipe.hash}-{seed}-{skill}",
        recipe=recipe.name,
        seed=seed,
        skill=skill,
        recipe_hash=result_hash(recipe, fingerprint),
        data={"name": recipe.data.name, "location": None, "fingerprint": fingerprint, "train_images": 100},
    )
    return Result.from_folder(run)


def test_an_entry_is_written_once_and_found_by_recipe_and_seed(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    made = result(tmp_path, 3)
    file = ledger.add(made, RECIPE)
    before = file.stat().st_mtime_ns
    assert ledger.add(made, RECIPE) == file
    assert file.stat().st_mtime_ns == before
    (found,) = ledger.read().of(RECIPE, fingerprint="f" * 16)
    assert found.seed == 3
    assert found.last == made.last
    assert found.record["spec"]["name"] == "paper/table1/ce"
    assert file.parent.name == made.recipe_hash


def test_two_ledgers_merge_by_copying_and_the_older_of_two_results_counts(tmp_path: Path) -> None:
    here, there = Ledger(tmp_path / "here"), Ledger(tmp_path / "there")
    here.add(result(tmp_path, 0), RECIPE)
    there.add(result(tmp_path, 1), RECIPE)
    again = result(tmp_path, 0, skill=3.0)
    there.add(Result(again.folder, {**again.record, "date": "2027-01-01T00:00:00Z"}), RECIPE)
    before = {file: file.read_bytes() for file in here.folder.rglob("*.json")}
    shutil.copytree(there.folder, here.folder, dirs_exist_ok=True)
    assert all(file.read_bytes() == content for file, content in before.items())
    entries = here.read()
    assert len(entries.results) == 3
    found = entries.of(RECIPE, fingerprint="f" * 16)
    assert [item.seed for item in found] == [0, 1]
    assert found[0].last == result(tmp_path, 0).last != again.last


def test_another_version_of_a_recipe_and_other_images_are_kept_and_not_mixed(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    old = dataclasses.replace(RECIPE, ema=0.9)
    ledger.add(result(tmp_path, 0), RECIPE)
    ledger.add(result(tmp_path, 1, recipe=old), old)
    ledger.add(result(tmp_path, 2, fingerprint="0" * 16), RECIPE)
    entries = ledger.read()
    assert len(entries.results) == 3
    assert [item.seed for item in entries.of(RECIPE, fingerprint="f" * 16)] == [0]
    assert [item.seed for item in entries.of(RECIPE, fingerprint="0" * 16)] == [2]
    assert entries.other_versions(RECIPE) == 1
    assert plan_hash(old) != plan_hash(RECIPE)


def test_results_of_a_users_images_are_told_apart_by_what_the_images_are(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    ledger.add(result(tmp_path, 0), RECIPE)
    entries = ledger.read()
    assert entries.of(RECIPE, fingerprint="0" * 16, location="/elsewhere") == []
    assert [item.seed for item in entries.of(RECIPE, fingerprint="f" * 16, location="/elsewhere")] == [0]
    assert [item.seed for item in entries.of(RECIPE, fingerprint=None)] == [0]


@pytest.mark.parametrize("damage", ["torn", "changed", "renamed"])
def test_a_damaged_entry_is_named_left_out_and_mended_by_the_next_one(tmp_path: Path, damage: str) -> None:
    ledger = Ledger(tmp_path / "ledger")
    file = ledger.add(result(tmp_path, 0), RECIPE)
    text = file.read_text()
    if damage == "torn":
        file.write_text(text[: len(text) // 2])
    elif damage == "changed":
        file.write_text(text.replace('"seed": 0', '"seed": 7'))
    else:
        file = file.rename(file.with_name("mine.json"))
    entries = ledger.read()
    assert entries.results == ()
    (line,) = entries.damaged
    assert line.startswith(str(file))
    assert ("not the name" if damage == "renamed" else "not what was written") in line
    ledger.add(result(tmp_path, 0), RECIPE)
    assert [item.seed for item in ledger.read().results] == [0]
    assert json.loads(text)["seed"] == 0
