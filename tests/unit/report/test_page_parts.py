"""The parts of a page: the table of classes, example images within bounds, costs, and a size that can be mailed."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tailwise.report import examples as report_examples
from tailwise.report.classes import class_rows, num_worst
from tailwise.report.compared import Compared
from tailwise.report.cost import cost_rows
from tailwise.report.examples import example_classes
from tailwise.report.ledger import Result
from tailwise.report.page import write_page
from tailwise.report.table import compare_table
from tests.unit.report.fabricated import profile, write_run

DOT = "data:image/png;base64,iVBORw0KGgo="
MEGABYTE = 1_000_000


def run(folder: Path, **options: Any) -> Result:
    return Result.from_folder(write_run(folder, **options))


def compared(groups: dict[str, list[Result]]) -> Compared:
    return Compared(groups, compare_table(groups))


def keep(result: Result, classes: list[dict[str, Any]]) -> None:
    (result.folder / "examples.json").write_text(json.dumps({"epoch": 40, "classes": classes}))


def example(**changes: Any) -> dict[str, Any]:
    return {"predicted": 0, "confidence": 90.0, "image": DOT, "cam": DOT, "cam_predicted": DOT} | changes


def test_classes_stand_by_size_with_the_paired_gain(tmp_path: Path) -> None:
    counts = np.array([5, 300, 40, 120])
    ce = [run(tmp_path / f"ce{seed}", counts=counts, seed=seed) for seed in (0, 1)]
    ours = [run(tmp_path / "ldam", recipe="ldam", counts=counts, seed=1, flat=0.9)]
    rows = class_rows(compared({"ce": ce, "ldam": ours}))
    assert [row["count"] for row in rows] == [300, 120, 40, 5]
    assert [row["rank"] for row in rows] == [1, 2, 3, 4]
    assert [row["group"] for row in rows] == ["many", "many", "medium", "few"]
    for row, label in zip(rows, (1, 3, 2, 0), strict=True):
        assert row["name"] == f"class {label}"
        kinds, values = zip(*row["values"], strict=True)
        assert kinds == ("accuracy", "accuracy", "gain")
        mean = (ce[0].per_class[label] + ce[1].per_class[label]) / 2
        # Only seed 1 is common, so the gain is not the difference of the two accuracies before it.
        expected = (mean, ours[0].per_class[label], ours[0].per_class[label] - ce[1].per_class[label])
        np.testing.assert_allclose(values, expected)


def test_a_class_without_test_images_has_no_accuracy_and_no_gain(tmp_path: Path) -> None:
    record = run(tmp_path, counts=profile(4)).record
    last = {**record["last"], "per_class": [None, *record["last"]["per_class"][1:]]}
    results = [Result(tmp_path, {**record, "last": last})]
    rows = class_rows(compared({"a": results, "b": results}))
    assert rows[0]["values"] == [("accuracy", None), ("accuracy", None), ("gain", None)]


def test_a_class_in_no_group_says_so(tmp_path: Path) -> None:
    result = run(tmp_path, counts=np.array([300, 20, 5]), shots="fsa")
    assert [row["group"] for row in class_rows(compared({"ce": [result]}))] == ["many", "", "few"]


@pytest.mark.parametrize(("classes", "recipes", "expected"), [(2, 1, 3), (10, 3, 5), (1000, 1, 10), (1000, 9, 5)])
def test_weak_classes_are_few_enough_to_read(classes: int, recipes: int, expected: int) -> None:
    assert num_worst(classes, recipes) == expected


def test_examples_name_their_classes(tmp_path: Path) -> None:
    result = run(tmp_path, counts=profile(5))
    keep(result, [{"label": 4, "images": [example(predicted=1), example(predicted=4, cam_predicted=None)]}])
    (shown,) = example_classes({"ce": [result]})["ce"]
    assert (shown["name"], shown["count"]) == ("class 4", 5)
    wrong, right = shown["images"]
    assert (wrong["taken_for"], wrong["right"], wrong["confidence"]) == ("class 1", False, 90.0)
    assert right["right"]
    assert "cam_predicted" not in right


def test_runs_without_examples_and_changed_classifiers_show_none(tmp_path: Path) -> None:
    result = run(tmp_path, counts=profile(5))
    assert example_classes({"ce": [result]}) == {}
    keep(result, [{"label": 0, "images": [example()]}])
    assert example_classes({"ce + tau": [Result(result.folder, result.record, "tau")]}) == {}


@pytest.mark.parametrize(
    "damaged",
    [
        {"label": 99, "images": []},
        {"label": 0, "images": [example(predicted=-1)]},
        {"label": 0, "images": [example(image="https://example.org/a.png")]},
        {"label": 0, "images": [example(image='data:image/svg+xml;base64,PHN2Zz4="')]},
        {"label": 0, "images": [example(cam=DOT + '" onload="x')]},
        {"label": 0, "images": [example(image="data:image/png;base64," + "A" * report_examples.LARGEST)]},
        {"label": 0},
    ],
)
def test_a_damaged_file_is_named_and_nothing_of_it_shown(
    tmp_path: Path, damaged: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    result = run(tmp_path, counts=profile(5))
    keep(result, [{"label": 1, "images": [example()]}, damaged])
    with caplog.at_level(logging.WARNING):
        assert example_classes({"ce": [result]}) == {}
    assert f"{tmp_path / 'examples.json'}: example images left out, the file is damaged" in caplog.text


def test_pictures_of_all_recipes_together_stay_within_the_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = {name: [run(tmp_path / name, recipe=name, counts=profile(12))] for name in ("a", "b")}
    for (result,) in groups.values():
        keep(result, [{"label": c, "images": [example()] * 4} for c in range(12)])
    shown = example_classes(groups)
    assert {len(rows) for rows in shown.values()} == {report_examples.SEVERAL[0]}
    assert {len(row["images"]) for rows in shown.values() for row in rows} == {report_examples.SEVERAL[1]}
    of_a_class = 3 * report_examples.SEVERAL[1] * len(DOT)
    monkeypatch.setattr(report_examples, "BUDGET", 2 * (3 * of_a_class + 1))
    assert {name: len(rows) for name, rows in example_classes(groups).items()} == {"a": 3, "b": 3}


def test_costs_are_means_over_seeds_and_dashes_where_nothing_was_stored(tmp_path: Path) -> None:
    peaks = ({"bytes": 2**20, "of": "tensors on the GPU"}, {"bytes": 3 * 2**20, "of": "tensors on the GPU"})
    new = [run(tmp_path / f"new{s}", seed=s, images=51_500, memory=peaks[s], at_once=2) for s in (0, 1)]
    old = [run(tmp_path / "old", recipe="old", parameters=None, device=None)]
    first, second = cost_rows({"new": new, "old": old})
    assert first == {
        "name": "new",
        "parameters": "464,154",
        "images": "51,500",
        "seconds": "101.5 ± 2.1",
        "speed": "508",
        "memory": "3 MiB",
        "memory_of": "tensors on the GPU",
        "device": "cpu (2 threads), 2 runs at once",
    }
    dash = "\N{EN DASH}"
    assert second == dict.fromkeys(first, dash) | {"name": "old", "seconds": "100.0", "memory_of": ""}


@pytest.mark.parametrize(
    ("classes", "recipes"),
    [(100, 3), *(pytest.param(*size, marks=pytest.mark.slow) for size in ((100, 12), (1000, 2)))],
)
def test_a_page_stays_under_five_megabytes(tmp_path: Path, classes: int, recipes: int) -> None:
    groups: dict[str, list[Result]] = {}
    picture = "data:image/jpeg;base64," + "A" * 6000  # larger than what a run keeps of an image of 112 pixels
    names = [f"a class with a long name, number {c}" for c in range(classes)]
    for number in range(recipes):
        result = run(
            tmp_path / str(number), recipe=f"r{number}", counts=profile(classes), names=names, per_class=10, flat=0.5
        )
        image = example(image=picture, cam=picture, cam_predicted=picture)
        keep(result, [{"label": c, "images": [image] * 3} for c in range(10)])
        groups[f"recipe number {number}"] = [result]
    page = write_page(groups, tmp_path / "report.html")
    assert page.stat().st_size < 5 * MEGABYTE
    text = page.read_text(encoding="utf-8")
    assert picture in text
    assert text.count("<tr><td>") == classes
