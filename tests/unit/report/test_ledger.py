"""Run folders read back, whole and damaged."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tailwise.core.errors import DataError, RunError
from tailwise.evaluation.shots import shot_groups
from tailwise.report.ledger import Result, find_results, one_per_seed, read_metrics
from tests.unit.report.fabricated import profile, write_run


def test_a_run_is_read_back(tmp_path: Path) -> None:
    counts = profile(10)
    result = Result.from_folder(write_run(tmp_path / "run", recipe="ldam", seed=3, counts=counts))
    assert (result.recipe, result.seed, result.select, result.shots) == ("ldam", 3, "last", "oltr")
    assert result.class_counts.tolist() == counts.tolist()
    assert result.confusion.shape == (10, 10)
    np.testing.assert_allclose(result.per_class, 100 * np.diagonal(result.confusion) / result.confusion.sum(axis=1))
    assert result.selected["epoch"] == 40
    assert result.seconds == 109.0
    assert len(result.metrics()) == 48
    assert "stages:" in (result.recipe_yaml() or "")
    assert Result.from_folder(tmp_path / "run" / "result.json").record == result.record


def test_selecting_the_best_epoch_reads_its_confusion_matrix(tmp_path: Path) -> None:
    result = Result.from_folder(write_run(tmp_path, select="best_on_test"))
    assert result.selected["epoch"] == 31
    assert result.confusion.tolist() == result.record["confusion_best"]
    assert result.confusion.tolist() != result.record["confusion"]


def test_the_confusion_matrix_of_an_earlier_stage_is_read_back(tmp_path: Path) -> None:
    result = Result.from_folder(write_run(tmp_path))
    assert result.confusion_after(0) is None
    held = {"0": {"last": {}, "confusion": result.record["confusion"]}}
    staged = Result(result.folder, {**result.record, "stages": held})
    assert np.array_equal(staged.confusion_after(0), result.confusion)  # pyright: ignore[reportArgumentType]
    assert staged.confusion_after(1) is None


def test_groups_under_another_protocol_are_means_of_the_class_accuracies(tmp_path: Path) -> None:
    result = Result.from_folder(write_run(tmp_path))
    masks = shot_groups("thirds", result.class_counts)
    for group, record in result.groups("thirds").items():
        assert record["accuracy"] == pytest.approx(result.per_class[masks[group]].mean())
    assert result.groups("oltr") == result.selected["groups"]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"finished": False}, RunError, "has not finished"),
        ({"format": 7}, DataError, "format 7 is not known"),
        ({"select": "lst"}, DataError, "selects 'lst'"),
        ({"class_names": ["a"]}, DataError, "different sizes"),
        ({"confusion": [[1, 2], [3]]}, DataError, "different sizes"),
        ({"confusion": None}, DataError, "different sizes"),
    ],
)
def test_a_run_that_cannot_be_used_says_why(
    tmp_path: Path, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    write_run(tmp_path, **changes)
    with pytest.raises(error, match=message):
        Result.from_folder(tmp_path)


def test_missing_and_damaged_results_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no such run folder"):
        Result.from_folder(tmp_path / "nowhere")
    with pytest.raises(RunError, match=r"no result\.json"):
        Result.from_folder(tmp_path)
    (tmp_path / "recipe.yaml").write_text("label: ce\n")
    with pytest.raises(RunError, match="not finished"):
        Result.from_folder(tmp_path)
    (tmp_path / "result.json").write_text('{"format": 1, "finis')
    with pytest.raises(DataError, match="cannot be read as JSON"):
        Result.from_folder(tmp_path)
    (tmp_path / "result.json").write_text("[1]")
    with pytest.raises(DataError, match="expected named fields, got list"):
        Result.from_folder(tmp_path)
    (tmp_path / "result.json").write_text(json.dumps({"format": 1, "finished": True, "recipe": "ce"}))
    with pytest.raises(DataError, match=r"recipe_hash, seed, .*missing"):
        Result.from_folder(tmp_path)


def test_results_are_found_below_a_folder_and_unusable_ones_are_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("b/ce-1", "a/ce-0"):
        write_run(tmp_path / name)
    write_run(tmp_path / "c", finished=False)
    with caplog.at_level(logging.WARNING):
        found = find_results(tmp_path)
    assert [result.folder.name for result in found] == ["ce-0", "ce-1"]
    assert "left out" in caplog.text
    with pytest.raises(RunError, match="no such folder"):
        find_results(tmp_path / "nowhere")


def test_of_several_results_with_one_seed_the_newest_counts(tmp_path: Path) -> None:
    old = Result.from_folder(write_run(tmp_path / "1", seed=1, date="2026-01-01T00:00:00Z"))
    new = Result.from_folder(write_run(tmp_path / "2", seed=1, date="2026-02-01T00:00:00Z"))
    other = Result.from_folder(write_run(tmp_path / "3", seed=0))
    assert [result.folder for result in one_per_seed([new, old, other])] == [other.folder, new.folder]


def test_a_torn_line_of_the_log_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lines = ['{"event": "epoch", "epoch": 1}', "", '{"event": "epoch", "epoch": 2}', '{"event": "epo']
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines))
    with caplog.at_level(logging.WARNING):
        records = read_metrics(tmp_path)
    assert [record["epoch"] for record in records] == [1, 2]
    assert "line 4 of 4 is damaged" in caplog.text


def test_no_log_is_an_empty_log(tmp_path: Path) -> None:
    assert read_metrics(tmp_path) == []
