"""List files, small ones of every form and the public ones at their true size."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest

from tailwise.core.groups import Groups
from tailwise.core.stats import ClassStats
from tailwise.data import open_data
from tailwise.data.lists import read_list
from tests.helpers import shared_path
from tests.unit.data.conftest import noise


def write_lists(
    root: Path, train: str, test: str, train_name: str = "x_train.txt", test_name: str = "x_test.txt"
) -> Path:
    (root / train_name).write_text(train)
    (root / test_name).write_text(test)
    for name in ("a.png", "b c.png", "d.png"):
        noise(4, 4).save(root / name)
    return root / train_name


@pytest.mark.parametrize("separator", [" ", "\t", "   ", " \t"])
def test_path_may_contain_spaces(tmp_path: Path, separator: str) -> None:
    lines = "".join(f"{path}{separator}{label}\n" for path, label in (("a.png", 0), ("b c.png", 1)))
    splits = open_data("list", location=write_lists(tmp_path, lines, "d.png 1\n"))
    assert splits.train.paths == ("a.png", "b c.png")
    assert splits.train.labels.tolist() == [0, 1]
    assert splits.train.class_names == ("0", "1")
    assert (splits.test.split, splits.test.labels.tolist()) == ("test", [1])
    assert splits.train.read(1).size == (4, 4)


def test_class_names_as_labels_are_sorted(tmp_path: Path) -> None:
    train = write_lists(tmp_path, "a.png\tzebra\nd.png\tblue whale\n", "b c.png\tzebra\n")
    splits = open_data("list", location=train)
    assert splits.train.class_names == ("blue whale", "zebra")
    assert splits.train.labels.tolist() == [1, 0]
    assert splits.test.labels.tolist() == [1]


def test_blank_lines_byte_order_mark_and_windows_line_ends_do_not_matter(tmp_path: Path) -> None:
    train = write_lists(tmp_path, "", "d.png 0\n")
    train.write_bytes("\ufeffa.png 0\r\n\r\nb c.png 1\r\n".encode())
    assert open_data("list", location=train).train.paths == ("a.png", "b c.png")


@pytest.mark.parametrize(
    ("train_name", "test_name", "split"),
    [
        ("x_train.txt", "x_val.txt", "val"),
        ("Train.csv", "Test.csv", "test"),
        ("training/a_train.txt", "training/a_test.txt", "test"),
    ],
)
def test_evaluation_list_is_found_by_its_name(tmp_path: Path, train_name: str, test_name: str, split: str) -> None:
    (tmp_path / "training").mkdir()
    train = write_lists(tmp_path, "a.png 0\nd.png 1\n", "d.png 1\n", train_name, test_name)
    splits = open_data("list", location=train, root=tmp_path)
    assert splits.test.split == split
    assert splits.test.paths == ("d.png",)


def test_test_list_goes_before_val_unless_asked_otherwise(tmp_path: Path) -> None:
    train = write_lists(tmp_path, "a.png 0\nd.png 1\n", "d.png 1\n")
    (tmp_path / "x_val.txt").write_text("a.png 0\n")
    assert open_data("list", location=train).test.paths == ("d.png",)
    assert open_data("list", location=train, eval_split="val").test.paths == ("a.png",)


def test_given_evaluation_list_is_used(tmp_path: Path) -> None:
    train = write_lists(tmp_path, "a.png 0\nd.png 1\n", "d.png 1\n", "all.txt", "held_out_val.txt")
    splits = open_data("list", location=train, eval_list=tmp_path / "held_out_val.txt")
    assert (splits.test.split, len(splits.test)) == ("val", 1)


@pytest.fixture(scope="module")
def public_lists(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lists")
    with tarfile.open(shared_path("data/lists.tar.xz")) as packed:
        packed.extractall(folder, filter="data")
    return folder


def test_places_lt_has_its_published_counts(public_lists: Path) -> None:
    train = read_list(public_lists / "Places_LT_train.txt", public_lists, "train")
    counts = train.counts
    assert (len(train), train.num_classes, int(counts.max()), int(counts.min())) == (62500, 365, 4980, 5)
    assert (int((counts > 100).sum()), int((counts < 20).sum())) == (131, 71)
    test = read_list(public_lists / "Places_LT_test.txt", public_lists, "test", train.class_names)
    np.testing.assert_array_equal(test.counts, np.full(365, 100))


@pytest.mark.parametrize(
    ("name", "images", "classes"),
    [
        ("ImageNet_LT_val", 20000, 1000),
        ("ImageNet_LT_test", 50000, 1000),
        ("iNaturalist18_val", 24426, 8142),
        ("Places_LT_val", 7300, 365),
    ],
)
def test_public_evaluation_lists_are_balanced(public_lists: Path, name: str, images: int, classes: int) -> None:
    pool = read_list(public_lists / f"{name}.txt", public_lists, "val")
    assert (len(pool), pool.num_classes) == (images, classes)
    assert np.unique(pool.counts).tolist() == [images // classes]


def test_groups_of_places_lt(public_lists: Path) -> None:
    stats = ClassStats(read_list(public_lists / "Places_LT_train.txt", public_lists, "train").counts)
    sizes = {
        rule: np.bincount(Groups(rule=rule).assign(stats, 3)).tolist()  # pyright: ignore[reportArgumentType]
        for rule in ("counts", "rank", "official", "imbalance")
    }
    thirds = [121, 121, 123]
    assert {name: sizes[name] for name in ("counts", "rank", "official")} == {
        "counts": [131, 163, 71],
        "rank": thirds,
        "official": thirds,  # the authors published no groups for Places-LT
    }
    group = Groups(rule="imbalance").assign(stats, 3)
    factors = [stats.counts[group == number].max() / stats.counts[group == number].min() for number in range(3)]
    assert max(factors) <= stats.imbalance_factor ** (1 / 3) * (1 + 1e-9)
    assert sum(sizes["imbalance"]) == 365


@pytest.mark.parametrize(
    ("images", "most", "least", "classes", "number", "nested"),
    [
        (115_846, 1280, 5, 1000, 3, [1000, 825, 220]),  # the size of ImageNet-LT
        pytest.param(437_513, 1000, 2, 8142, 2, [8142, 6600], marks=pytest.mark.slow),  # of iNaturalist 2018
    ],
)
def test_a_training_list_of_full_size_has_the_groups_of_the_authors_code(
    tmp_path: Path, images: int, most: int, least: int, classes: int, number: int, nested: list[int]
) -> None:
    powers = (least + (most - least) * np.linspace(1, 0, classes) ** power for power in np.arange(1, 40, 0.01))
    counts = next(found for power in powers if (found := power.astype(int)).sum() <= images)
    counts[1 : 1 + images - counts.sum()] += 1
    counts = counts[np.random.default_rng(0).permutation(classes)]  # the largest class is not class 0
    labels = np.repeat(np.arange(classes), counts)
    (tmp_path / "x_train.txt").write_text("".join(f"train/{k:06}.jpg {label}\n" for k, label in enumerate(labels)))
    pool = read_list(tmp_path / "x_train.txt", tmp_path, "train")
    assert (len(pool), pool.num_classes) == (images, classes)
    group = Groups(rule="official").assign(ClassStats(pool.counts), number)
    assert [int((group >= branch).sum()) for branch in range(number)] == nested
    assert pool.counts[group == 0].min() >= pool.counts[group == 1].max()
