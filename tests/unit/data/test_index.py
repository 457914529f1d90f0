"""Pools, checksums, and subset files that notice damage."""

from __future__ import annotations

import hashlib
import json
import pickle
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tailwise.core.errors import DataError
from tailwise.data import LongTailIndex, Pool, UnreadableImage, cut_long_tail, pool_checksum, synthetic_pool
from tests.unit.data.conftest import pool_of


@pytest.fixture
def pool() -> Pool:
    return synthetic_pool(3, per_class=8, size=4).train


@pytest.fixture
def index(pool: Pool) -> LongTailIndex:
    return cut_long_tail(pool, 4)


def test_saved_index_is_loaded_unchanged(tmp_path: Path, pool: Pool, index: LongTailIndex) -> None:
    index.save(tmp_path / "new" / "subset.json")
    loaded = LongTailIndex.load(tmp_path / "new" / "subset.json", pool)
    np.testing.assert_array_equal(loaded.positions, index.positions)
    np.testing.assert_array_equal(loaded.labels, index.labels)
    assert (loaded.checksum, loaded.class_names) == (index.checksum, index.class_names)
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["subset.json"]


@pytest.mark.parametrize("key", ["positions", "labels", "checksum", "pool_checksum"])
@pytest.mark.parametrize("damage", ["change", "remove", "text"])
def test_damaged_file_is_refused(tmp_path: Path, pool: Pool, index: LongTailIndex, key: str, damage: str) -> None:
    path = tmp_path / "subset.json"
    index.save(path)
    content: dict[str, Any] = json.loads(path.read_text())
    if damage == "remove":
        del content[key]
    elif damage == "text":
        content[key] = "word"
    elif isinstance(content[key], list):
        content[key][0] = content[key][0] + 1
    else:
        content[key] = "0" * 64
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"subset\.json: damaged subset file"):
        LongTailIndex.load(path, pool)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": "other"}', "\x00\x01"])
def test_other_file_is_no_subset_file(tmp_path: Path, pool: Pool, text: str) -> None:
    (tmp_path / "subset.json").write_text(text)
    with pytest.raises(DataError, match="not a subset file"):
        LongTailIndex.load(tmp_path / "subset.json", pool)


def test_binary_file_is_no_subset_file(tmp_path: Path, pool: Pool) -> None:
    (tmp_path / "subset.json").write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(DataError, match="not a subset file"):
        LongTailIndex.load(tmp_path / "subset.json", pool)


def test_absent_file_is_named(tmp_path: Path, pool: Pool) -> None:
    with pytest.raises(DataError, match=r"no subset file .*gone\.json"):
        LongTailIndex.load(tmp_path / "gone.json", pool)


def test_index_of_another_pool_is_refused(tmp_path: Path, index: LongTailIndex) -> None:
    index.save(tmp_path / "subset.json")
    other = synthetic_pool(3, per_class=8, size=4, seed=1).train
    with pytest.raises(DataError, match="made from other images"):
        LongTailIndex.load(tmp_path / "subset.json", other)


def test_unwritable_place_is_a_data_error(tmp_path: Path, index: LongTailIndex) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write the subset file"):
        index.save(tmp_path / "file" / "subset.json")


def test_checksum_depends_on_every_part(index: LongTailIndex) -> None:
    others = [
        replace(index, positions=index.positions[::-1].copy()),
        replace(index, labels=index.labels[::-1].copy()),
        replace(index, pool_checksum="0"),
    ]
    assert len({index.checksum, *(other.checksum for other in others)}) == 4


def test_checksum_is_sha256_of_little_endian_numbers() -> None:
    index = LongTailIndex(np.array([3, 1]), np.array([0, 1]), ("a", "b"), "x", "abc")
    assert index.checksum == hashlib.sha256(b"abc" + struct.pack("<4q", 3, 1, 0, 1)).hexdigest()


def test_counts_and_stats_describe_the_subset(index: LongTailIndex) -> None:
    assert index.counts.tolist() == [8, 4, 2]
    assert index.stats.imbalance_factor == 4
    assert len(index) == 14


def test_drop_removes_positions_and_ignores_foreign_ones(index: LongTailIndex) -> None:
    unused = set(range(24)) - set(index.positions.tolist())
    smaller = index.drop([int(index.positions[0]), min(unused)])
    np.testing.assert_array_equal(smaller.positions, index.positions[1:])
    assert smaller.counts.tolist() == [7, 4, 2]
    assert smaller.checksum != index.checksum


def test_drop_of_a_whole_class_is_refused(index: LongTailIndex) -> None:
    with pytest.raises(DataError, match="no usable training image is left in 1 classes: 'class 2'"):
        index.drop(index.positions[index.labels == 2].tolist())


def test_pool_checksum_ignores_root_and_source(tmp_path: Path) -> None:
    pool = pool_of(tmp_path, "a.png", "b.png")
    moved = replace(pool, source="elsewhere", root=tmp_path / "moved")
    assert pool_checksum(moved) == pool_checksum(pool)


def test_pool_checksum_sees_names_labels_paths_and_pixels(tmp_path: Path, pool: Pool) -> None:
    files = pool_of(tmp_path, "a.png", "b.png")
    assert pool.array is not None
    different = [
        files,
        replace(files, class_names=("one", "three")),
        replace(files, labels=np.array([0, 1])),
        replace(files, paths=("a.png", "c.png")),
        pool,
        replace(pool, array=255 - pool.array),
    ]
    assert len({pool_checksum(one) for one in different}) == len(different)


def test_pool_names_images_in_memory_and_on_disk(tmp_path: Path, pool: Pool) -> None:
    assert pool.name_of(3) == "synthetic/train#3"
    assert pool_of(tmp_path, "a b/c.png").name_of(0) == "a b/c.png"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"paths": ("a.png",), "root": Path()}, "either paths with a root folder or an array"),
        ({"array": None}, "either paths with a root folder or an array"),
        ({"labels": np.zeros(3, dtype=np.int64)}, "24 images but labels of shape"),
        ({"class_names": ("only",)}, "labels 0 to 2 for 1 class names"),
    ],
)
def test_inconsistent_pool_is_refused(pool: Pool, change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        replace(pool, **change)


def test_unreadable_image_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(UnreadableImage("a.png", "an empty file")))
    assert (error.name, error.reason, str(error)) == (
        "a.png",
        "an empty file",
        "a.png: cannot be read as an image: an empty file",
    )
