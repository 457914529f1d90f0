"""Changes of the classifier as rows of tables and pages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tailwise.core.errors import DataError
from tailwise.report.ledger import Result, with_posthoc
from tailwise.report.page import render_page
from tailwise.report.table import compare_table, to_csv, to_markdown
from tests.unit.report.fabricated import write_run

LABELS = ("tau_norm(tau=0.7)", "ncm")


def changed_run(folder: Path, *labels: str, **fields: Any) -> Result:
    """A run whose changes have the numbers of other made-up runs."""
    changes: dict[str, Any] = {}
    for number, label in enumerate(labels):
        other = Result.from_folder(write_run(folder / "other", skill=2.4 + number / 10, flat=0.5, **fields)).record
        changes[label] = {
            key: other[key] for key in ("last", "best_on_test", "confusion", "confusion_best", "reliability")
        }
    run = write_run(folder / "run", posthoc=changes, **fields)
    lines = (run / "metrics.jsonl").read_text().splitlines()
    for number, line in enumerate(lines):
        record = json.loads(line)
        if record["event"] == "evaluation" and labels:
            record["posthoc"] = {labels[0]: {"epoch": record["epoch"], "top1": 12.5}}
        lines[number] = json.dumps(record)
    (run / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    return Result.from_folder(run)


def test_every_change_is_a_row_below_its_recipe(tmp_path: Path) -> None:
    runs = [changed_run(tmp_path / f"{seed}", *LABELS, recipe="ce", seed=seed) for seed in (0, 1)]
    plain = [Result.from_folder(write_run(tmp_path / f"p{seed}", recipe="ldam", seed=seed)) for seed in (0, 1)]
    table = compare_table({"ce": runs, "ldam": plain})
    assert [row.name for row in table.rows] == ["ce", *(f"ce + {label}" for label in LABELS), "ldam"]
    for row, label in zip(table.rows[1:3], LABELS, strict=True):
        records = [run.record["posthoc"][label] for run in runs]
        top1, difference = row.cells["top1"], row.cells["difference"]
        assert top1 is not None
        assert difference is not None
        assert top1.mean == pytest.approx(sum(record["last"]["top1"] for record in records) / 2)
        assert difference.mean == pytest.approx(
            sum(record["last"]["top1"] - run.last["top1"] for record, run in zip(records, runs, strict=True)) / 2
        )
        best = row.cells["best_on_test"]
        assert best is not None
        assert best.mean == pytest.approx(sum(record["best_on_test"]["top1"] for record in records) / 2)
        assert row.seeds == (0, 1)
    assert "classifier changed after training" in " ".join(table.notes)
    assert "ce + ncm" in to_markdown(table)
    assert to_csv(table).count("\n") == 5


def test_a_table_without_changes_says_nothing_of_them(tmp_path: Path) -> None:
    table = compare_table({"ce": [changed_run(tmp_path)]})
    assert [row.name for row in table.rows] == ["ce"]
    assert "classifier" not in " ".join(table.notes)


def test_a_change_of_one_seed_only_is_a_row_with_that_seed(tmp_path: Path) -> None:
    runs = [changed_run(tmp_path / "0", "ncm", seed=0), changed_run(tmp_path / "1", seed=1)]
    assert [row.seeds for row in compare_table({"ce": runs}).rows] == [(0, 1), (0,)]


def test_groups_with_changes_get_no_further_ones(tmp_path: Path) -> None:
    once = with_posthoc({"ce": [changed_run(tmp_path, *LABELS)]})
    assert list(with_posthoc(once)) == list(once) == ["ce", *(f"ce + {label}" for label in LABELS)]
    assert [result.changed for results in once.values() for result in results] == [None, *LABELS]


def test_the_log_of_a_changed_result_has_its_evaluations_and_no_training(tmp_path: Path) -> None:
    result = changed_run(tmp_path, *LABELS)
    first, second = (result.posthoc()[label] for label in LABELS)
    assert {record["event"] for record in first.metrics()} == {"evaluation"}
    assert {record["top1"] for record in first.metrics()} == {12.5}
    assert second.metrics() == []
    assert any(record["event"] == "epoch" for record in result.metrics())


def test_the_page_shows_every_change_and_each_run_once(tmp_path: Path) -> None:
    text = render_page({"ce": [changed_run(tmp_path / f"{seed}", *LABELS, seed=seed) for seed in (0, 1)]})
    for label in LABELS:
        assert f'<th scope="row">ce + {label}</th>' in text
        assert f"<h3>ce + {label}</h3>" in text
    assert "<title>ce on made-up</title>" in text
    assert text.count("<dt>folder</dt>") == 2
    assert "whiskers are one standard deviation" in text


@pytest.mark.parametrize(
    ("posthoc", "message"),
    [
        ([1], "posthoc must hold a record by the name of each change of the classifier"),
        ({"ncm": 3}, "posthoc must hold a record by the name of each change of the classifier"),
        ({"ncm": {"confusion": []}}, "selects 'last', which it does not hold; one of last, best_on_test"),
        (
            {"ncm": {"last": {"per_class": [1.0]}, "confusion": []}},
            "class names, counts, accuracies and confusion matrix are of different sizes",
        ),
    ],
)
def test_a_damaged_record_of_a_change_is_told(tmp_path: Path, posthoc: Any, message: str) -> None:
    run = write_run(tmp_path / "run", posthoc=posthoc)
    with pytest.raises(DataError, match=message):
        Result.from_folder(run)
