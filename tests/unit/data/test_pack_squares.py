from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tailwise.data.images import decode
from tailwise.data.open import Splits, open_data
from tailwise.data.pack import PackedImages, open_pack
from tailwise.data.pack_format import Mode
from tailwise.data.pack_squares import packed_squares
from tailwise.data.pack_writer import new_header, write_pack
from tailwise.data.pool import Pool


@pytest.fixture(scope="module")
def splits(tmp_path_factory: pytest.TempPathFactory) -> Splits:
    base = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for label in ("a", "b"):
            (base / split / label).mkdir(parents=True)
            for number in range(3):
                shape = (int(rng.integers(20, 60)), int(rng.integers(20, 60)), 3)
                Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(
                    base / split / label / f"{number}.png"
                )
    return open_data("folder", location=base)


def packed(splits: Splits, folder: Path, mode: Mode, size: int) -> PackedImages:
    write_pack(folder, splits, new_header(splits, mode, size, ""))
    return open_pack(folder, splits).train


EVERY = np.arange(6)


@pytest.mark.parametrize("mode", ["short", "square"])
def test_where_the_pack_has_the_size_the_centre_is_cut_and_nothing_resized(
    splits: Splits, tmp_path: Path, mode: Mode
) -> None:
    images = packed(splits, tmp_path / "pack", mode, 16)
    for number, square in enumerate(packed_squares(images, EVERY, 14, zoom=16 / 14)):
        whole = images.image(number)
        top, left = (whole.shape[0] - 14) // 2, (whole.shape[1] - 14) // 2
        assert np.array_equal(square, whole[top : top + 14, left : left + 14].transpose(2, 0, 1))


@pytest.mark.parametrize(("size", "zoom"), [(10, 1.0), (12, 256 / 224)])
def test_otherwise_packed_images_are_cut_as_decoded_ones(
    splits: Splits, tmp_path: Path, size: int, zoom: float
) -> None:
    images = packed(splits, tmp_path / "pack", "short", 18)
    paths: list[str] = []
    for number in range(6):
        Image.fromarray(np.asarray(images.image(number))).save(tmp_path / f"{number}.png")
        paths.append(f"{number}.png")
    pool = Pool("files", "train", ("a",), np.zeros(6, dtype=np.int64), paths=tuple(paths), root=tmp_path)
    expected = np.stack([decode(pool, number, size, zoom) for number in range(6)])
    assert np.array_equal(packed_squares(images, EVERY, size, zoom=zoom), expected)


def test_a_square_pack_of_the_size_gives_the_pixels_of_decoding(splits: Splits, tmp_path: Path) -> None:
    images = packed(splits, tmp_path / "pack", "square", 12)
    expected = np.stack([decode(splits.train, number, 12) for number in (4, 1)])
    for workers in (1, 3):
        assert np.array_equal(packed_squares(images, np.array([4, 1]), 12, workers=workers), expected)


def test_squares_go_where_they_are_wanted(splits: Splits, tmp_path: Path) -> None:
    images = packed(splits, tmp_path / "pack", "square", 12)
    out = np.zeros((6, 3, 12, 12), dtype=np.uint8)
    assert packed_squares(images, EVERY, 12, out=out) is out
    assert np.array_equal(out, packed_squares(images, EVERY, 12))
