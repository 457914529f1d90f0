"""From a recipe's data section to images that can be trained on: open, cut the long tail, find what cannot be read."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
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
from tailwise.data.pack import Pack
from tailwise.data.pack_squares import packed_squares
from tailwise.data.resident import resident_bytes
from tailwise.engine.packed import crops_on_device, open_for, packed_bytes, pixels_of
from tailwise.engine.recipe import Data

#: Taken for the free memory where the system does not tell it.
UNKNOWN_MEMORY = 4 << 30
#: Share of the free memory that images take with ``--path auto``, and with ``--path resident``.
USUAL_MEMORY, MOST_MEMORY = 0.3, 0.9

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
        pack: Where the images come from when the recipe names an image pack, else None.
        resident: Whether the images are on the device while the run trains.
    """

    data: Data
    splits: Splits
    index: LongTailIndex
    eval_positions: NDArray[np.int64]
    train_images: NDArray[np.uint8] | None
    eval_images: NDArray[np.uint8] | None
    unreadable: tuple[str, ...]
    pack: Pack | None = None
    resident: bool = False

    @property
    def sizes(self) -> NDArray[np.int64] | None:
        """Height and width of the training images ``[N,2]`` when random crops of them are drawn with the plan."""
        if self.pack is None or not crops_on_device(self.data):
            return None
        return self.pack.train.sizes[self.index.positions]


def open_splits(data: Data, root: Path | None = None) -> Splits:
    """The pools that a data section names.

    Args:
        data: Of a recipe.
        root: Where the files lie now, in place of the section's own root.
    """
    return open_data(
        data.name,
        location=_path(data.location),
        root=root or _path(data.root),
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
            the fingerprint; a pack that does not serve; images that do not fit where ``path`` wants them.
    """
    splits = open_splits(data)
    index = cut_index(data, splits)
    pack = open_for(data, splits)
    everything = np.arange(len(splits.test), dtype=np.int64)
    workers = max(1, data.workers)
    train_images: NDArray[np.uint8] | None = None
    eval_images: NDArray[np.uint8] | None = None
    resident = False
    if pack is not None:
        used = set(index.positions.tolist())
        bad_train = {position: reason for position, reason in pack.train.unreadable.items() if position in used}
        bad_eval = dict(pack.eval.unreadable)
    elif resident := _is_resident(
        data, resident_bytes(len(index.positions) + len(everything), data.image_size), device, say
    ):
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
    if pack is not None:
        resident = _is_resident(data, packed_bytes(data, pack, index.positions, len(positions)), device, say)
        if resident and not crops_on_device(data):
            train_images = packed_squares(pack.train, index.positions, data.image_size, workers=workers)
        if resident:
            eval_images = packed_squares(pack.eval, positions, data.image_size, zoom=data.eval_zoom, workers=workers)
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
        pixels=pixels_of(data, pack),
        location=_absolute(data.location),
        root=_absolute(data.root),
        eval_list=_absolute(data.eval_list),
        subset=_absolute(data.subset),
        pack=_absolute(data.pack),
    )
    return Prepared(data, splits, index, positions, train_images, eval_images, unreadable, pack, resident)


def expected_data(data: Data) -> tuple[str, int]:
    """The fingerprint and the number of training images when every image can be read; none is decoded.

    Raises:
        DataError: Something is wrong with the data, or it is not there.
    """
    splits = open_splits(data)
    index = cut_index(data, splits)
    positions = np.arange(len(splits.test), dtype=np.int64)
    return _fingerprint(index, splits.test, positions), len(index)


def _is_resident(data: Data, needed: int, device: torch.device, say: Say) -> bool:
    """Whether the images are kept on the device, of which they take so many bytes."""
    if data.augmentation == "random_resized_crop" and data.pack is None:
        if data.path == "resident":
            raise DataError(
                "--path resident needs augmentation pad_crop or none, or an image pack (--pack): "
                "random_resized_crop reads the full-size image"
            )
        return False
    if data.path == "host":
        return False
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else _free_memory()
    if data.path == "resident":
        if needed > MOST_MEMORY * free:
            raise DataError(
                f"--path resident: the images take {_size(needed)}, and {_size(free)} are free on {device.type}; "
                "allowed here: auto, host"
            )
        return True
    if needed >= USUAL_MEMORY * free and data.pack is not None:
        say(
            f"host path: the packed images take {_size(needed)}, more than {USUAL_MEMORY:.0%} of the {_size(free)} "
            f"that are free on {device.type}; --path resident takes more"
        )
    return needed < USUAL_MEMORY * free


def _size(number: int) -> str:
    return f"{number / 1e9:.1f} GB" if number >= 5e8 else f"{number / 1e6:.1f} MB"


def _free_memory() -> int:
    try:
        # What programs can have; memory that holds copies of files counts, which "free" pages do not.
        found = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
        if found is not None:
            return int(found[1]) << 10
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
