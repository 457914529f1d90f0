"""Class folders as data sets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tailwise.core.errors import DataError
from tailwise.data import decode_many, open_data, prepare_index
from tests.helpers import shared_path
from tests.unit.data.conftest import noise


def test_classes_and_images_come_sorted(image_folder: Path) -> None:
    splits = open_data("folder", location=image_folder)
    assert splits.train.class_names == splits.test.class_names == ("cat", "dog")
    assert splits.train.labels.tolist() == [0, 0, 0, 1, 1]
    assert splits.train.paths == (
        "train/cat/0.png",
        "train/cat/1.png",
        "train/cat/2.png",
        "train/dog/0.png",
        "train/dog/1.png",
    )
    assert splits.train.source == image_folder.name
    assert splits.test.split == "val"


def test_images_below_subfolders_count_and_hidden_and_other_files_do_not(image_folder: Path) -> None:
    cat = image_folder / "train" / "cat"
    (cat / "more" / "deep").mkdir(parents=True)
    (cat / ".cache").mkdir()
    noise(4, 4).save(cat / "more" / "deep" / "x y.JPG", "JPEG")
    noise(4, 4).save(cat / ".cache" / "z.png")
    noise(4, 4).save(cat / ".hidden.png")
    (cat / "Thumbs.db").write_text("no image")
    (image_folder / "train" / ".DS_Store").write_text("")
    paths = open_data("folder", location=image_folder).train.paths
    assert paths is not None
    assert [path for path in paths if "cat" in path and path != "train/cat/more/deep/x y.JPG"] == [
        f"train/cat/{number}.png" for number in range(3)
    ]
    assert "train/cat/more/deep/x y.JPG" in paths


@pytest.mark.parametrize("extension", ["jpg", "JPEG", "png", "webp", "bmp", "gif", "tif", "TIFF"])
def test_every_common_extension_is_found(image_folder: Path, extension: str) -> None:
    noise(4, 4).save(image_folder / "train" / "cat" / f"new.{extension}")
    splits = open_data("folder", location=image_folder)
    images, bad = decode_many(splits.train, np.arange(6), 4)
    assert images.shape == (6, 3, 4, 4)
    assert bad == {}


def test_test_folder_goes_before_val_unless_asked_otherwise(image_folder: Path) -> None:
    for name in ("cat", "dog"):
        (image_folder / "test" / name).mkdir(parents=True)
        noise(4, 4).save(image_folder / "test" / name / "t.png")
    assert open_data("folder", location=image_folder).test.split == "test"
    assert open_data("folder", location=image_folder, eval_split="val").test.split == "val"


def test_missing_split_that_was_asked_for_is_an_error(image_folder: Path) -> None:
    with pytest.raises(DataError, match="has train/ but no test/"):
        open_data("folder", location=image_folder, eval_split="test")


def test_long_tailed_folder_at_true_size(tmp_path: Path) -> None:
    import tarfile

    archive = shared_path("data/tiny-imagenet-100-lt.tar.xz")
    with tarfile.open(archive) as packed:
        for member in packed:
            place = tmp_path / member.name
            if member.isfile():
                place.parent.mkdir(parents=True, exist_ok=True)
                place.touch()
    splits = open_data("folder", location=tmp_path / "tiny-imagenet-100-lt")
    index = prepare_index(splits)
    assert (len(index), len(splits.test), index.stats.num_classes) == (10847, 5000, 100)
    assert index.stats.imbalance_factor == 100
    assert (np.diff(index.counts) <= 0).all()
