"""The data sets that need no files of the user, and how a name becomes a data set."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torchvision.datasets

from tailwise.core.errors import DataError, UnknownName
from tailwise.core.registry import REGISTRY
from tailwise.data import guess_source, open_data, prepare_index, synthetic_pool


def test_digits_pools_are_balanced_and_disjoint() -> None:
    splits = open_data("digits")
    assert splits.train.counts.tolist() == [124] * 10
    assert splits.test.counts.tolist() == [50] * 10
    assert splits.train.array is not None
    assert splits.test.array is not None
    assert splits.train.array.shape == (1240, 8, 8)
    assert (splits.train.array.min(), splits.train.array.max()) == (0, 255)


def test_digits_are_split_by_position_within_each_class() -> None:
    from sklearn.datasets import load_digits

    bunch: Any = load_digits()
    splits = open_data("digits")
    assert splits.train.array is not None
    assert splits.test.array is not None
    sevens = bunch.images[bunch.target == 7]
    np.testing.assert_allclose(splits.train.array[splits.train.labels == 7] / (255 / 16), sevens[:124], atol=0.04)
    np.testing.assert_allclose(splits.test.array[splits.test.labels == 7] / (255 / 16), sevens[-50:], atol=0.04)


def test_synthetic_images_are_told_apart_by_the_nearest_class_mean() -> None:
    splits = open_data("synthetic")
    assert splits.train.array is not None
    assert splits.test.array is not None
    means = np.stack([splits.train.array[splits.train.labels == label].mean(axis=0) for label in range(4)])
    distances = ((splits.test.array[:, None].astype(float) - means) ** 2).sum(axis=(2, 3, 4))
    assert (distances.argmin(axis=1) == splits.test.labels).all()


def test_synthetic_images_depend_on_the_seed_alone() -> None:
    one, same, other = (synthetic_pool(3, counts=[5, 2, 1], size=8, seed=seed).train.array for seed in (1, 1, 2))
    assert one is not None
    assert same is not None
    assert other is not None
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


@pytest.mark.parametrize("arguments", [{"num_classes": 1}, {"counts": [1, 2]}, {"counts": [0, 1, 1, 1]}, {"size": 0}])
def test_impossible_synthetic_data_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="synthetic data need two classes"):
        synthetic_pool(**arguments)


@pytest.fixture
def tiny_cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """CIFAR-10's file layout with 20 training and 10 test images, and torchvision told not to ask for its sums."""
    base = tmp_path / "cifar-10-batches-py"
    base.mkdir()
    random = np.random.default_rng(0)
    for number, name in enumerate(("data_batch_1", "data_batch_2", "test_batch")):
        content = {
            "data": random.integers(0, 256, (10, 3072), dtype=np.uint8),
            "labels": [(7 * i + number) % 10 for i in range(10)],
        }
        (base / name).write_bytes(pickle.dumps(content))
    (base / "batches.meta").write_bytes(pickle.dumps({"label_names": [f"c{label}" for label in range(10)]}))
    dataset = torchvision.datasets.CIFAR10
    monkeypatch.setattr(dataset, "train_list", [["data_batch_1", None], ["data_batch_2", None]])
    monkeypatch.setattr(dataset, "test_list", [["test_batch", None]])
    monkeypatch.setattr(dataset, "meta", {"filename": "batches.meta", "key": "label_names", "md5": None})
    return tmp_path


@pytest.mark.parametrize("below", ["", "cifar-10-batches-py"])
def test_cifar_keeps_the_order_of_its_files(tiny_cifar: Path, below: str) -> None:
    splits = open_data("cifar10", root=tiny_cifar / below)
    assert splits.train.labels.tolist() == [7 * i % 10 for i in range(10)] + [(7 * i + 1) % 10 for i in range(10)]
    assert splits.test.labels.tolist() == [(7 * i + 2) % 10 for i in range(10)]
    assert splits.train.class_names[3] == "c3"
    stored: Any = pickle.loads((tiny_cifar / "cifar-10-batches-py" / "data_batch_2").read_bytes())
    image = np.asarray(splits.train.read(10))
    np.testing.assert_array_equal(image.transpose(2, 0, 1).reshape(-1), stored["data"][0])


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_absent_cifar_without_a_network_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def offline(self: object) -> None:
        del self
        raise OSError("Name or service not known")

    monkeypatch.setattr(torchvision.datasets.CIFAR10, "download", offline)
    with pytest.raises(DataError, match="the download failed") as caught:
        open_data(name, root=tmp_path)
    folder = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}[name]
    assert str(tmp_path / folder) in str(caught.value)
    assert "Download https://" in str(caught.value)


def test_damaged_cifar_is_not_downloaded_over(tmp_path: Path) -> None:
    (tmp_path / "cifar-10-batches-py").mkdir()
    with pytest.raises(DataError, match="found it incomplete or damaged"):
        open_data("cifar10", root=tmp_path)


def test_word_is_a_data_set_then_a_folder_then_a_list(image_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(image_folder)
    Path("digits").mkdir()
    Path("x_train.txt").write_text("")
    assert guess_source("digits") == ("digits", None)
    assert guess_source("Digits") == ("digits", None)
    assert guess_source("./digits") == ("folder", Path("digits"))
    assert guess_source(str(image_folder)) == ("folder", image_folder)
    assert guess_source("x_train.txt") == ("list", Path("x_train.txt"))


def test_every_data_set_is_registered_with_a_summary() -> None:
    entries = {entry.name: entry.summary for entry in REGISTRY.entries("datasets")}
    assert set(entries) >= {"digits", "cifar10", "cifar100", "folder", "list", "synthetic"}
    assert all(len(summary) > 30 for summary in entries.values())


def test_prepared_index_is_cut_or_read_from_its_file(tmp_path: Path) -> None:
    splits = open_data("digits")
    index = prepare_index(splits, imbalance_factor=20, max_per_class=100, subset_seed=3)
    assert index.counts[[0, 9]].tolist() == [100, 5]
    index.save(tmp_path / "subset.json")
    again = prepare_index(splits, imbalance_factor=5, subset_file=tmp_path / "subset.json")
    assert again.checksum == index.checksum


@pytest.mark.parametrize("name", ["digits", "synthetic"])
@pytest.mark.parametrize("argument", ["location", "root", "eval_list"])
def test_argument_without_use_is_refused(name: str, argument: str) -> None:
    arguments: dict[str, Any] = {argument: Path("x")}
    with pytest.raises(DataError, match=f"{name!r} has no use for {argument}"):
        open_data(name, **arguments)


def test_unknown_evaluation_split_is_refused() -> None:
    with pytest.raises(UnknownName, match="unknown evaluation split 'valid'; did you mean 'val'"):
        open_data("digits", eval_split="valid")


def test_importing_the_package_loads_no_heavy_library() -> None:
    heavy = ("torch", "torchvision", "sklearn", "matplotlib", "rich")
    code = f"import sys, tailwise.data; print([name for name in {heavy} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
