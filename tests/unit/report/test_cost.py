"""What a recipe costs stands beside what it reaches."""

from __future__ import annotations

from pathlib import Path

import pytest

from tailwise.report.ledger import Result
from tailwise.report.table import compare_table, to_markdown
from tests.unit.report.fabricated import write_run


def result(folder: Path, recipe: str, images: float | None) -> Result:
    changes = {} if images is None else {"images_per_step": images}
    return Result.from_folder(write_run(folder / recipe, recipe=recipe, **changes))


def test_images_a_step_and_time_an_epoch_are_shown_when_steps_differ(tmp_path: Path) -> None:
    table = compare_table({"ce": [result(tmp_path, "ce", 128)], "cbs-rrs-ss": [result(tmp_path, "cbs-rrs-ss", 512)]})
    found = {column.key: column for column in table.columns}
    assert [table.text(row, found["images_per_step"]) for row in table.rows] == ["128", "512"]
    assert [table.text(row, found["epoch_seconds"]) for row in table.rows] == ["2.50", "2.50"]
    text = to_markdown(table)
    assert "images a step" in text
    assert "time an epoch (s)" in text
    assert "counts every image that goes through the network" in text


@pytest.mark.parametrize("other", [128, None])
def test_they_are_left_out_when_every_step_costs_the_same_or_it_is_not_known(
    tmp_path: Path, other: float | None
) -> None:
    table = compare_table({"ce": [result(tmp_path, "ce", 128)], "ldam": [result(tmp_path, "ldam", other)]})
    assert not {"images_per_step", "epoch_seconds"} & {column.key for column in table.columns}
