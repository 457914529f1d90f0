"""An image pack opened for reading: every image of a data set, decoded once, memory-mapped."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tailwise.core.errors import DataError
from tailwise.data.open import Splits
from tailwise.data.pack_format import PARTS, Header, list_checksum, read_header, read_reasons, read_records
from tailwise.data.pool import Pool


@dataclass(frozen=True, eq=False)
class PackedImages:
    """The packed images of one split.

    Attributes:
        pixels: uint8 ``[P,3]``, read-only and memory-mapped: a pixel is read from disk when it is asked for, and
            processes share what was read.
        first: int64 ``[N]``, where each image begins in ``pixels``.
        sizes: int64 ``[N,2]``, height and width; 0 where an image could not be read.
        crc: uint32 ``[N]``, CRC-32 of each image's bytes.
        unreadable: Reason by position in the pool.
    """

    pixels: NDArray[np.uint8]
    first: NDArray[np.int64]
    sizes: NDArray[np.int64]
    crc: NDArray[np.uint32]
    unreadable: Mapping[int, str]

    def image(self, position: int) -> NDArray[np.uint8]:
        """One image, ``[height,width,3]``, without a copy."""
        height, width = self.sizes[position].tolist()
        first = int(self.first[position])
        return self.pixels[first : first + height * width].reshape(height, width, 3)


@dataclass(frozen=True, eq=False)
class Pack:
    """A complete pack.

    Attributes:
        folder: Where it lies.
        header: Mode, size, and what it is of.
        train: Images of the training pool.
        eval: Images of the evaluation pool.
    """

    folder: Path
    header: Header
    train: PackedImages
    eval: PackedImages

    @property
    def pixels(self) -> str:
        """Mode and size in a word, for a recipe: ``"short-256"``."""
        return f"{self.header.mode}-{self.header.size}"


def open_pack(folder: Path, splits: Splits | None = None) -> Pack:
    """Opens a pack after a quick check: header, file sizes, the index's checksum, and whether it is of these images.

    Pixels are not read; :func:`tailwise.data.pack_verify.damaged_images` does that.

    Args:
        folder: The pack.
        splits: The data that it shall be of; None opens it without looking.

    Raises:
        DataError: Not a pack, unfinished, damaged, or of other images; the message says what differs and how to
            rebuild it.
    """
    header = read_header(folder)
    if not header.complete:
        raise DataError(f"the pack {folder} is not finished; go on with: {header.command}")
    if splits is not None:
        check_lists(folder, header, splits)
    digest = hashlib.sha256()
    images: dict[str, PackedImages] = {}
    for part in PARTS:
        records = read_records(folder, part)
        digest.update(records.tobytes())
        path, expected = folder / f"{part}.bin", header.part(part)
        found = path.stat().st_size if path.is_file() else 0
        if len(records) != expected.images:
            raise _damaged(folder, f"{part}.index has {len(records):,} images, not {expected.images:,}", header)
        if found != expected.bytes:
            raise _damaged(folder, f"{part}.bin has {found:,} bytes, not {expected.bytes:,}", header)
        reasons = read_reasons(folder, part)
        bad = np.flatnonzero(records["status"] != 0).tolist()
        images[part] = PackedImages(
            # An empty file cannot be mapped.
            np.memmap(path, dtype=np.uint8, mode="r").reshape(-1, 3) if found else np.zeros((0, 3), np.uint8),
            records["first"].astype(np.int64),
            np.stack([records["height"], records["width"]], axis=1).astype(np.int64),
            records["crc"],
            {position: reasons.get(position, "unreadable when it was packed") for position in bad},
        )
    if digest.hexdigest() != header.checksum:
        raise _damaged(folder, "the checksum of its index is not the one in pack.json", header)
    return Pack(folder, header, images["train"], images["eval"])


def check_lists(folder: Path, header: Header, splits: Splits) -> None:
    """Refuses a pack of other images than these.

    Raises:
        DataError: Says what differs.
    """
    for part, pool in zip(PARTS, (splits.train, splits.test), strict=True):
        packed = header.part(part)
        if packed.list_checksum != list_checksum(pool):
            kind = "training" if part == "train" else "evaluation"
            difference = _difference(kind, packed.images, packed.split, header.source, pool)
            raise DataError(
                f"the pack {folder} is of other images: {difference}. It was made by: {header.command}\n"
                "Pack the images that you train on into another folder (`tailwise data pack`)"
            )


def _difference(kind: str, images: int, split: str, source: str, pool: Pool) -> str:
    if (images, split) != (len(pool), pool.split):
        there, here = (
            f"{images:,} {kind} images ({split} of {source})",
            f"{len(pool):,} ({pool.split} of {pool.source})",
        )
        return f"it holds {there}, the data have {here}"
    return f"its {images:,} {kind} images have other names or another order than those of {pool.source}"


def _damaged(folder: Path, what: str, header: Header) -> DataError:
    return DataError(f"the pack {folder} is damaged: {what}; delete the folder and pack again: {header.command}")
