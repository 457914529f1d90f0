"""The comparison table against numpy."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from tailwise.core.errors import DataError
from tailwise.report.ledger import Result
from tailwise.report.table import compare_table, statistic, to_csv, to_markdown, to_rich
from tests.unit.report.fabricated import profile, write_run

Groups = dict[str, list[Result]]


@pytest.fixture
def groups(tmp_path: Path) -> Groups:
    def runs(recipe: str, seeds: tuple[int, ...], flat: float) -> list[Result]:
        return [
            Result.from_folder(write_run(tmp_path / f"{recipe}-{s}", recipe=recipe, seed=s, flat=flat)) for s in seeds
        ]

    return {"ce": runs("ce", (0, 1, 2), 0.2), "ldam": runs("ldam", (2, 1, 5), 0.7), "focal": runs("focal", (7,), 0.4)}


def test_cells_are_mean_and_sample_deviation_over_seeds(groups: Groups) -> None:
    rows = {row.name: row for row in compare_table(groups).rows}
    assert list(rows) == ["ce", "ldam", "focal"]
    for name, results in groups.items():
        for key in ("top1", "harmonic_mean", "worst_class", "ece", "nll"):
            values = [result.record["last"][key] for result in results]
            cell = rows[name].cells[key]
            assert cell is not None
            assert cell.mean == pytest.approx(np.mean(values))
            assert cell.n == len(results)
            if len(values) > 1:
                assert cell.std == pytest.approx(np.std(values, ddof=1))
            else:
                assert cell.std is None
        many = [result.record["last"]["groups"]["many"]["accuracy"] for result in results]
        cell = rows[name].cells["many"]
        assert cell is not None
        assert cell.mean == pytest.approx(np.mean(many))


def test_the_difference_is_paired_over_common_seeds(groups: Groups) -> None:
    rows = {row.name: row for row in compare_table(groups).rows}
    top1 = {name: {r.seed: r.selected["top1"] for r in results} for name, results in groups.items()}
    gaps = [top1["ldam"][seed] - top1["ce"][seed] for seed in (1, 2)]
    cell = rows["ldam"].cells["difference"]
    assert cell is not None
    assert (cell.mean, cell.std, cell.n) == (pytest.approx(np.mean(gaps)), pytest.approx(np.std(gaps, ddof=1)), 2)
    assert rows["focal"].cells["difference"] is None
    assert "difference" not in rows["ce"].cells


def test_one_seed_shows_no_deviation(groups: Groups) -> None:
    text = to_markdown(compare_table({"focal": groups["focal"]}))
    row = next(line for line in text.splitlines() if line.startswith("| focal"))
    assert "±" not in row
    assert "one seed each" in text
    assert "| focal | 1 |" in text


def test_the_selected_record_is_printed_and_named(tmp_path: Path) -> None:
    result = Result.from_folder(write_run(tmp_path, select="best_on_test"))
    table = compare_table({"ce": [result]})
    cell = table.rows[0].cells["top1"]
    assert cell is not None
    assert cell.mean == result.record["best_on_test"]["top1"] != result.record["last"]["top1"]
    assert "best epoch on the test set" in table.notes[0]


def test_different_selections_are_pointed_out(tmp_path: Path) -> None:
    last = Result.from_folder(write_run(tmp_path / "a"))
    best = Result.from_folder(write_run(tmp_path / "b", recipe="b", select="best_on_test"))
    assert "different selections" in compare_table({"a": [last], "b": [best]}).notes[0]


def test_notes_name_the_protocol_and_headings_carry_units(groups: Groups) -> None:
    table = compare_table(groups)
    assert any("protocol oltr" in note and "n >= 100" in note for note in table.notes)
    assert all(column.title.endswith(")") or "top-1" in column.title for column in table.columns)


def test_results_under_another_protocol_are_regrouped(tmp_path: Path) -> None:
    first = Result.from_folder(write_run(tmp_path / "a", shots="thirds"))
    second = Result.from_folder(write_run(tmp_path / "b", recipe="b", shots="oltr"))
    table = compare_table({"a": [first], "b": [second]})
    few = table.rows[1].cells["few"]
    assert few is not None
    assert few.mean == pytest.approx(second.per_class[6:].mean())
    assert any("regrouped under thirds" in note for note in table.notes)


def test_an_empty_group_is_a_dash(tmp_path: Path) -> None:
    result = Result.from_folder(write_run(tmp_path, counts=profile(10, 5000, 10)))
    table = compare_table({"ce": [result]})
    few = next(column for column in table.columns if column.key == "few")
    assert table.text(table.rows[0], few) == "\N{EN DASH}"
    assert to_csv(table).splitlines()[1].count(",,0") == 2  # medium and few


def test_an_unbalanced_test_set_adds_the_balanced_accuracy(tmp_path: Path) -> None:
    result = Result.from_folder(write_run(tmp_path))
    assert "balanced_accuracy" not in {column.key for column in compare_table({"ce": [result]}).columns}
    last = {**result.record["last"], "balanced_accuracy": result.record["last"]["top1"] - 9.0}
    skewed = Result(result.folder, {**result.record, "last": last})
    table = compare_table({"ce": [skewed]})
    assert "balanced_accuracy" in {column.key for column in table.columns}
    assert any("not balanced" in note for note in table.notes)


def test_csv_has_full_precision(groups: Groups) -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(compare_table(groups)))))
    values = [result.selected["top1"] for result in groups["ce"]]
    assert float(rows[0]["top-1 (%) mean"]) == pytest.approx(np.mean(values), rel=1e-12)
    assert float(rows[0]["top-1 (%) std"]) == pytest.approx(np.std(values, ddof=1), rel=1e-12)
    assert rows[2]["top-1 (%) std"] == ""
    assert rows[1]["seeds"] == "1 2 5"


def test_markdown_has_one_cell_per_column_whatever_the_name(groups: Groups) -> None:
    table = compare_table({"a|b\nc": groups["ce"], "ldam": groups["ldam"]})
    lines = [line for line in to_markdown(table).splitlines() if line.startswith("|")]
    assert len({line.replace("\\|", "").count("|") for line in lines}) == 1
    assert lines[2].startswith("| a\\|b c | 3 |")


def test_the_terminal_table_prints_names_literally(groups: Groups) -> None:
    console = Console(width=300, record=True, file=io.StringIO())
    console.print(to_rich(compare_table({"[red]ce[/red]": groups["ce"], "ldam": groups["ldam"]})))
    assert "[red]ce[/red]" in console.export_text()


def test_the_best_mean_is_marked_by_direction(groups: Groups) -> None:
    table = compare_table(groups)
    by_key = {column.key: column for column in table.columns}
    for key, pick in (("top1", max), ("ece", min), ("nll", min)):
        means = {row.name: cell.mean for row in table.rows if (cell := row.cells[key])}
        assert pick(means, key=lambda name: means[name]) in table.best(by_key[key])
    assert table.best(by_key["seconds"]) == frozenset()


def test_different_settings_under_one_name_and_spare_results_are_noted(tmp_path: Path) -> None:
    runs = [
        Result.from_folder(write_run(tmp_path / "a", seed=0)),
        Result.from_folder(write_run(tmp_path / "b", seed=0, date="2020-01-01")),
        Result.from_folder(write_run(tmp_path / "c", seed=1, recipe_hash="0" * 12)),
    ]
    notes = " ".join(compare_table({"ce": runs}).notes)
    assert "different settings" in notes
    assert "1 older result of the same seed left out" in notes


def test_results_of_different_classes_are_refused(tmp_path: Path) -> None:
    ten = Result.from_folder(write_run(tmp_path / "a"))
    six = Result.from_folder(write_run(tmp_path / "b", counts=profile(6)))
    with pytest.raises(DataError, match="different classes"):
        compare_table({"ten": [ten], "six": [six]})
    with pytest.raises(DataError, match="no finished run"):
        compare_table({"ten": []})


def test_statistic_ignores_what_is_missing() -> None:
    found = statistic([1.0, None, 3.0, float("nan")])
    assert found is not None
    assert (found.mean, found.n, found.show()) == (2.0, 2, "2.0 ± 1.4")
    assert statistic([None]) is None
    negative = statistic([-1.25])
    assert negative is not None
    assert negative.show(2, sign=True) == "\N{MINUS SIGN}1.25"


@pytest.mark.parametrize("width", [60, 79, 80, 81, 92, 100, 117, 140, 250])
def test_no_number_is_cut_off_on_a_narrow_terminal(tmp_path: Path, width: int) -> None:
    groups = {
        name: [Result.from_folder(write_run(tmp_path / f"{name}-{seed}", recipe=name, seed=seed)) for seed in (0, 1)]
        for name in ("ce", "class-balanced-sampling")
    }
    console = Console(width=width, file=io.StringIO(), record=True)
    table = compare_table(groups)
    console.print(to_rich(table, width))
    text = console.export_text()
    assert "\N{HORIZONTAL ELLIPSIS}" not in text
    assert ("Not shown here" in text) == (width < 250)
    for row in table.rows:
        assert table.text(row, table.columns[0]) in text
    assert all(len(line) <= width for line in text.splitlines())


def test_a_difference_that_rounds_to_zero_has_no_minus() -> None:
    cell = statistic([-0.01, -0.02])
    assert cell is not None
    assert cell.show(sign=True) == "+0.0 ± 0.0"
