"""From a recipe's data section to images that can be trained on: open, cut the long tail, find what cannot be read."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from tailwise.core.errors import DataError
from tailwise.data.images import decode_many, find_unreadable
from tailwise.data.index import LongTailIndex, Pool, pool_checksum
from tailwise.data.open import Splits, open_data, prepare_index
from tailwise.data.resident import resident_bytes
from tailwise.engine.recipe import Data

#: Taken for the free memory where the system does not tell it.
UNKNOWN_MEMORY = 4 << 30

Say = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Prepared:
    """Data that a run can start on.

    Attributes:
        data: The recipe's data section with its fingerprint filled in.
        splits: Training and evaluation pools.
        index: The training subset, readable images only.
        eval_positions: int64, readable evaluation images.
        train_images: uint8 ``[N,3,S,S]`` when resident, else None.
        eval_images: uint8 ``[M,3,S,S]`` when resident, else None.
        unreadable: Names of images left out, with the reason.
    """

    data: Data
    splits: Splits
    index: LongTailIndex
    eval_positions: NDArray[np.int64]
    train_images: NDArray[np.uint8] | None
    eval_images: NDArray[np.uint8] | None
    unreadable: tuple[str, ...]

    @property
    def resident(self) -> bool:
        """Whether the images are decoded already."""
        return self.train_images is not None


def open_splits(data: Data) -> Splits:
    """The pools that a data section names."""
    return open_data(
        data.name,
        location=_path(data.location),
        root=_path(data.root),
        eval_split=data.eval_split,
        eval_list=_path(data.eval_list),
    )


def cut_index(data: Data, splits: Splits) -> LongTailIndex:
    """The training subset that a data section asks for."""
    return prepare_index(
        splits,
        imbalance_factor=data.imbalance_factor,
        profile=data.profile,
        max_per_class=data.max_per_class,
        subset_seed=data.subset_seed,
        subset_file=_path(data.subset),
    )


def prepare(data: Data, device: torch.device, say: Say) -> Prepared:
    """Opens, cuts and reads the data of a recipe.

    Args:
        data: The recipe's data section.
        device: Where the network is; decides with the free memory whether images are kept there.
        say: Called with a line for people when images are left out or decoding takes a while.

    Raises:
        DataError: Whatever is wrong with the data; unreadable images with ``strict``; images that are not those of
            the fingerprint.
    """
    splits = open_splits(data)
    index = cut_index(data, splits)
    everything = np.arange(len(splits.test), dtype=np.int64)
    resident = _is_resident(data, len(index.positions) + len(everything), device)
    workers = max(1, data.workers)
    train_images: NDArray[np.uint8] | None = None
    eval_images: NDArray[np.uint8] | None = None
    if resident:
        train_images, bad_train = decode_many(splits.train, index.positions, data.image_size, workers)
        eval_images, bad_eval = decode_many(splits.test, everything, data.image_size, workers, zoom=data.eval_zoom)
    else:
        say(f"checking {len(index.positions) + len(everything):,} images")
        bad_train = find_unreadable(splits.train, index.positions, workers)
        bad_eval = find_unreadable(splits.test, everything, workers)
    unreadable = _names(splits.train, bad_train) + _names(splits.test, bad_eval)
    if unreadable:
        listed = "\n  ".join(unreadable[:20]) + (f"\n  and {len(unreadable) - 20} more" if len(unreadable) > 20 else "")
        if data.strict:
            raise DataError(f"{len(unreadable)} images cannot be read, and --strict was given:\n  {listed}")
        say(f"going on without {len(unreadable)} images that cannot be read:\n  {listed}")
    if bad_train:
        keep = ~np.isin(index.positions, list(bad_train))
        train_images = None if train_images is None else train_images[keep]
        index = index.drop(np.array(sorted(bad_train), dtype=np.int64))
    readable = ~np.isin(everything, list(bad_eval))
    if not readable.any():
        raise DataError("no evaluation image can be read")
    eval_images = None if eval_images is None else eval_images[readable]
    positions = everything[readable]
    _ = index.stats  # refuses a class that lost every image
    fingerprint = _fingerprint(index, splits.test, positions)
    if data.fingerprint is not None and data.fingerprint != fingerprint:
        raise DataError(
            f"the images or labels are not those of the recipe: fingerprint {fingerprint}, not {data.fingerprint}. "
            "To train on what is there now, remove `fingerprint` from the recipe file"
        )
    # A run's recipe file shall find the images from any folder.
    data = dataclasses.replace(
        data,
        fingerprint=fingerprint,
        location=_absolute(data.location),
        root=_absolute(data.root),
        eval_list=_absolute(data.eval_list),
        subset=_absolute(data.subset),
    )
    return Prepared(data, splits, index, positions, train_images, eval_images, unreadable)


def _is_resident(data: Data, num_images: int, device: torch.device) -> bool:
    fits_kind = data.augmentation != "random_resized_crop"
    if data.path == "resident" and not fits_kind:
        raise DataError(
            "--path resident needs augmentation pad_crop or none; random_resized_crop reads the full-size image"
        )
    if data.path != "auto":
        return data.path == "resident"
    needed = resident_bytes(num_images, data.image_size)
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else _free_memory()
    return fits_kind and needed < 0.3 * free


def _free_memory() -> int:
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):  # not told on every system
        return UNKNOWN_MEMORY


def _names(pool: Pool, bad: dict[int, str]) -> tuple[str, ...]:
    return tuple(f"{pool.name_of(position)}: {reason}" for position, reason in sorted(bad.items()))


def _fingerprint(index: LongTailIndex, test: Pool, positions: NDArray[np.int64]) -> str:
    digest = hashlib.sha256(index.checksum.encode())
    digest.update(pool_checksum(test).encode())
    digest.update(positions.astype("<i8").tobytes())
    return digest.hexdigest()[:16]


def _absolute(text: str | None) -> str | None:
    return None if text is None else str(Path(text).expanduser().resolve())


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)
