"""The data card finds what was planted and counts what is there."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from tailwise.core.errors import DataError
from tailwise.data import Pool, Splits, data_card, draw_card, format_card, open_data, prepare_index, synthetic_pool
from tests.unit.data.conftest import noise


@pytest.fixture
def planted(image_folder: Path) -> dict[str, Any]:
    """The card of a folder with copies within a split, across splits and under another label, and unreadable files."""
    train, val = image_folder / "train", image_folder / "val"
    shutil.copy(train / "cat" / "0.png", train / "cat" / "copy.png")
    shutil.copy(train / "cat" / "1.png", train / "dog" / "conflict.png")
    shutil.copy(train / "dog" / "0.png", val / "dog" / "leak.png")
    shutil.copy(train / "dog" / "1.png", val / "cat" / "wrong.png")
    shutil.copy(val / "cat" / "0.png", val / "cat" / "again.png")
    (train / "dog" / "broken.jpg").write_text("not an image")
    buffer = io.BytesIO()
    noise(32, 32).save(buffer, "JPEG")
    (val / "dog" / "cut.jpg").write_bytes(buffer.getvalue()[:300])
    return data_card(open_data("folder", location=image_folder))


def test_planted_copies_are_found_with_their_labels(planted: dict[str, Any]) -> None:
    def short(key: str) -> list[tuple[tuple[str, ...], bool]]:
        return sorted((tuple(group["files"]), group["same_label"]) for group in planted["duplicates"][key])

    assert short("within_train") == [
        (("train/cat/0.png", "train/cat/copy.png"), True),
        (("train/cat/1.png", "train/dog/conflict.png"), False),
    ]
    assert short("within_test") == [(("val/cat/0.png", "val/cat/again.png"), True)]
    assert short("across") == [
        (("train/dog/0.png", "val/dog/leak.png"), True),
        (("train/dog/1.png", "val/cat/wrong.png"), False),
    ]


def test_planted_unreadable_files_are_found_in_both_splits(planted: dict[str, Any]) -> None:
    found = {entry["file"]: (entry["split"], entry["class"]) for entry in planted["unreadable"]}
    assert found == {"train/dog/broken.jpg": ("train", "dog"), "val/dog/cut.jpg": ("val", "dog")}
    assert planted["missing"] == []


def test_card_is_json_and_counts_every_class(planted: dict[str, Any]) -> None:
    assert json.loads(json.dumps(planted)) == planted
    assert planted["counts"] == [
        {"class": "cat", "label": 0, "train": 4, "test": 3},
        {"class": "dog", "label": 1, "train": 4, "test": 3},
    ]
    assert (planted["num_images"], planted["num_test_images"], planted["imbalance_factor"]) == (8, 6, 1.0)
    assert planted["image_size"] == {"sampled": 7, "min": [12, 10], "median": [12, 10], "max": [12, 10]}


def test_terminal_card_names_the_findings_and_reads_no_markup(planted: dict[str, Any]) -> None:
    planted["counts"][0]["class"] = "[bold]cat[/nonsense]"
    console = Console(width=160, file=io.StringIO(), record=True)
    console.print(format_card(planted))
    text = console.export_text()
    for words in (
        "[bold]cat[/nonsense]",
        "unreadable files: 2",
        "train/dog/broken.jpg (train): not an image in any format that Pillow knows",
        "groups of identical images within the training set: 2",
        "train/cat/1.png (cat) = train/dog/conflict.png (dog)",
        "1 of them with different labels",
        "fsa_unofficial",
        "12x10 (all of 7 sampled)",
    ):
        assert words in text, words


def test_listed_but_missing_files_are_told_apart_from_damaged_ones(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        noise(4, 4, ord(name[0])).save(tmp_path / name)
    (tmp_path / "l_train.txt").write_text("a.png 0\nb.png 1\ngone.png 1\n")
    (tmp_path / "l_test.txt").write_text("a.png 0\nb.png 1\n")
    card = data_card(open_data("list", location=tmp_path / "l_train.txt"))
    assert card["missing"] == ["gone.png"]
    assert card["unreadable"] == []
    assert len(card["duplicates"]["across"]) == 2


def test_digits_card_gives_every_protocol() -> None:
    splits = open_data("digits")
    seen: list[tuple[int, int]] = []
    index = prepare_index(splits, imbalance_factor=20)
    card = data_card(splits, index, on_progress=lambda done, total: seen.append((done, total)))
    assert [entry["train"] for entry in card["counts"]] == sorted(index.counts.tolist(), reverse=True)
    assert card["shots"]["oltr"] == {
        "many": {"classes": 1, "images": 124},
        "medium": {"classes": 5, "images": 251},
        "few": {"classes": 4, "images": 42},
    }
    assert card["shots"]["thirds"]["few"]["classes"] == 4
    assert card["gini"] == pytest.approx(index.stats.gini)
    assert seen[-1] == (2 * (417 + 500),) * 2
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_equal_images_in_memory_are_duplicates() -> None:
    splits = synthetic_pool(2, per_class=3, size=4)
    assert splits.train.array is not None
    splits.train.array[4] = splits.train.array[0]
    groups = data_card(splits)["duplicates"]["within_train"]
    assert groups == [
        {"files": ["synthetic/train#0", "synthetic/train#4"], "classes": ["class 0", "class 1"], "same_label": False}
    ]


def test_checks_that_were_left_out_are_none_not_empty() -> None:
    card = data_card(synthetic_pool(2), check_images=False, duplicates=False)
    assert (card["unreadable"], card["duplicates"]) == (None, None)
    console = Console(width=100, file=io.StringIO(), record=True)
    console.print(format_card(card))
    assert console.export_text().count("not checked") == 2


@pytest.mark.parametrize("tenths", [1, 30])
def test_drawn_card_shows_bars_in_three_colours_and_sample_images(tmp_path: Path, tenths: int) -> None:
    counts = [200] * 3 * tenths + [50] * 4 * tenths + [3] * 3 * tenths
    splits = synthetic_pool(len(counts), counts=counts, size=8)
    path = tmp_path / "new" / "card.png"
    draw_card(data_card(splits, duplicates=False), splits, path)
    with Image.open(path) as image:
        picture = np.asarray(image.convert("RGB")).reshape(-1, 3)
    for colour in ((0x00, 0x72, 0xB2), (0xE6, 0x9F, 0x00), (0xCC, 0x79, 0xA7)):
        assert (picture == colour).all(axis=1).sum() > 1000
    assert len(np.unique(picture, axis=0)) > 1000


def test_awkward_class_names_and_unreadable_images_do_not_stop_the_drawing(tmp_path: Path) -> None:
    names = ("$\\frac{$", "猫", "a" * 200, "_x_")
    paths = tuple(f"{number}.png" for number in range(4))
    pool = Pool("$odd$", "train", names, np.arange(4), paths=paths, root=tmp_path)
    splits = Splits(pool, pool)
    draw_card(data_card(splits, check_images=False), splits, tmp_path / "card.png")
    with Image.open(tmp_path / "card.png") as image:
        assert image.size[0] > 800


def test_figure_in_an_impossible_place_is_a_data_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    splits = synthetic_pool(2)
    with pytest.raises(DataError, match="cannot write the figure"):
        draw_card(data_card(splits), splits, tmp_path / "file" / "card.png")
