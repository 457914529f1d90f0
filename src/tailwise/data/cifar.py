"""CIFAR-10 and CIFAR-100 (krizhevsky2009cifar) in torchvision's files and order."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from tailwise.core.errors import DataError
from tailwise.core.registry import register
from tailwise.data.index import Pool
from tailwise.data.open import Splits, refuse_unused

#: Where the files are looked for and downloaded to when no root is given.
DEFAULT_ROOT = Path("data")
#: Classes, and training images of each: known without a look at the files.
SIZES: Mapping[str, tuple[int, int]] = MappingProxyType({"cifar10": (10, 5000), "cifar100": (100, 500)})


@register("cifar10", kind="datasets")
def cifar10(
    *,
    location: Path | None = None,
    root: Path | None = None,
    eval_split: str = "auto",
    eval_list: Path | None = None,
) -> Splits:
    """CIFAR-10: 10 classes of 32x32 photographs, 5,000 training and 1,000 test images each.

    Args:
        location: Not used.
        root: The folder that holds ``cifar-10-batches-py`` (default ``data``); downloaded into it when absent.
        eval_split: ``"auto"`` or ``"test"``.
        eval_list: Not used.

    Raises:
        DataError: The files are neither there nor can they be downloaded, or an argument that is not taken.
    """
    from torchvision.datasets import CIFAR10

    _refuse("cifar10", location, eval_split, eval_list)
    return _open("cifar10", CIFAR10, root)


@register("cifar100", kind="datasets")
def cifar100(
    *,
    location: Path | None = None,
    root: Path | None = None,
    eval_split: str = "auto",
    eval_list: Path | None = None,
) -> Splits:
    """CIFAR-100: 100 classes of 32x32 photographs, 500 training and 100 test images each.

    Args:
        location: Not used.
        root: The folder that holds ``cifar-100-python`` (default ``data``); downloaded into it when absent.
        eval_split: ``"auto"`` or ``"test"``.
        eval_list: Not used.

    Raises:
        DataError: The files are neither there nor can they be downloaded, or an argument that is not taken.
    """
    from torchvision.datasets import CIFAR100

    _refuse("cifar100", location, eval_split, eval_list)
    return _open("cifar100", CIFAR100, root)


def _refuse(name: str, location: Path | None, eval_split: str, eval_list: Path | None) -> None:
    if eval_split == "val":
        raise DataError(f"data set {name!r} has no val split; allowed: auto, test")
    refuse_unused(name, {"location": location, "eval_list": eval_list})


def _open(name: str, dataset: Any, root: Path | None) -> Splits:
    folder = DEFAULT_ROOT if root is None else root.expanduser()
    if folder.name == dataset.base_folder:
        folder = folder.parent
    return Splits(_pool(name, "train", dataset, folder), _pool(name, "test", dataset, folder))


def _pool(name: str, split: str, dataset: Any, folder: Path) -> Pool:
    present = (folder / dataset.base_folder).is_dir()
    try:
        read = dataset(root=str(folder), train=split == "train", download=not present)
    except Exception as error:  # no network, no disk, a damaged archive, a damaged pickle: all end here
        files = ", ".join(entry[0] for entry in (*dataset.train_list, *dataset.test_list))
        raise DataError(
            f"{name} is not readable: looked in {folder / dataset.base_folder} for {files}, "
            f"{'found it incomplete or damaged' if present else 'and the download failed'} "
            f"({_first_line(error)}). Download {dataset.url}, unpack it in {folder}, or name the folder that holds "
            f"{dataset.base_folder} as root"
        ) from error
    labels = np.asarray(read.targets, dtype=np.int64)
    return Pool(name, split, tuple(read.classes), labels, array=np.ascontiguousarray(read.data))


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
