"""The folder that a pack is written into: whose it is, what an interrupted run left of it, and appending to it.

Pixels are written before the record that describes them. What a killed process left is therefore good up to the last
whole record, and bytes behind its pixels are cut off. After a power failure the newest records may have reached the
disk before their pixels, so those that were not yet forced to the disk are compared with their CRC-32.
"""

from __future__ import annotations

import fcntl
import json
import os
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tailwise.core.errors import DataError
from tailwise.data.open import Splits
from tailwise.data.pack import check_lists
from tailwise.data.pack_format import HEADER, RECORD, UNREADABLE, Header, read_header, read_records, write_header

LOCK = ".lock"
#: Bytes of pixels after which everything is forced to the disk.
SYNC_BYTES = 256 << 20


@contextmanager
def claimed(folder: Path, header: Header, splits: Splits) -> Generator[Header]:
    """The folder for this pack alone, made when there is none; an unfinished or finished pack of the same is taken up.

    Args:
        folder: Where the pack shall lie.
        header: Of the pack that is wanted.
        splits: The data it is of.

    Yields:
        The header that counts: the one found, or the one given.

    Raises:
        DataError: The folder holds something else or another pack, another process packs into it, or it cannot be
            written.
    """
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder} is a file; choose a folder for the pack with --out")
    foreign = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    if HEADER not in foreign and not set(foreign) <= {LOCK, f".{HEADER}.tmp"}:
        raise DataError(
            f"{folder} is not empty and holds no pack (found: {sorted(foreign)[0]!r}); choose another folder with --out"
        )
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise DataError(f"another process is packing into {folder}") from None
        if HEADER in foreign:
            found = read_header(folder)
            if (found.mode, found.size) != (header.mode, header.size):
                raise DataError(
                    f"{folder} holds a pack {found.mode}-{found.size}, not {header.mode}-{header.size}; choose another "
                    "folder with --out"
                )
            check_lists(folder, found, splits)
            yield found
        else:
            write_header(folder, header)
            yield header


class PartWriter:
    """Appends images to one part of a pack.

    Args:
        folder: The pack.
        part: ``train`` or ``eval``.
        most: Images of the pool; more records than that are not taken up.

    Attributes:
        done: Images written, the unreadable ones among them.
        bytes: Bytes of their pixels.
    """

    def __init__(self, folder: Path, part: str, most: int) -> None:
        self.folder, self.part = folder, part
        flags = os.O_RDWR | os.O_CREAT
        self._pixels, self._index = (os.open(folder / f"{part}.{kind}", flags, 0o644) for kind in ("bin", "index"))
        self._reasons = os.open(folder / UNREADABLE, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        records = read_records(folder, part)[:most]
        records = records[: _whole(records, os.fstat(self._pixels).st_size)]
        records = records[: _intact(records, self._pixels)]
        self.done, self.bytes = len(records), 3 * _pixels_of(records)
        self.unreadable = int((records["status"] != 0).sum())
        self._unsynced = 0
        # What lies behind the last whole image goes.
        os.ftruncate(self._pixels, self.bytes)
        os.ftruncate(self._index, self.done * RECORD.itemsize)
        os.lseek(self._pixels, 0, os.SEEK_END)
        os.lseek(self._index, 0, os.SEEK_END)

    def add(self, image: NDArray[np.uint8] | None, reason: str = "") -> None:
        """Writes the next image ``[H,W,3]``, or None with the reason why it could not be read.

        Raises:
            OSError: The disk is full, or another failure to write; everything before this image stays.
        """
        if image is None:
            line = json.dumps({"part": self.part, "position": self.done, "reason": reason}) + "\n"
            _write(self._reasons, line.encode())
            record = (self.bytes // 3, 0, 0, 0, 1)
        else:
            content = image.data.cast("B")
            _write(self._pixels, content)
            record = (self.bytes // 3, image.shape[0], image.shape[1], zlib.crc32(content), 0)
            self._unsynced += len(content)
        _write(self._index, np.array([record], dtype=RECORD).tobytes())
        self.done += 1
        self.bytes += 0 if image is None else image.size
        self.unreadable += image is None
        if self._unsynced >= SYNC_BYTES:
            self.sync()

    def sync(self) -> None:
        """Forces what was written to the disk, pixels first."""
        for file in (self._pixels, self._reasons, self._index):
            os.fsync(file)
        self._unsynced = 0

    def close(self) -> None:
        """Closes the files."""
        for file in (self._pixels, self._reasons, self._index):
            os.close(file)


def _write(file: int, content: bytes | memoryview) -> None:
    """All of it: a single call writes less when the disk is almost full."""
    view = memoryview(content)
    while view:
        view = view[os.write(file, view) :]


def _pixels_of(records: NDArray[Any]) -> int:
    return int((records["height"].astype(np.int64) * records["width"]).sum())


def _whole(records: NDArray[Any], available: int) -> int:
    """How many records from the first on follow each other without a gap and have their pixels in the file."""
    pixels = records["height"].astype(np.int64) * records["width"]
    ends = np.cumsum(pixels)
    fine = (records["first"] == ends - pixels) & (3 * ends <= available) & ((pixels > 0) == (records["status"] == 0))
    return len(records) if fine.all() else int(np.argmin(fine))


def _intact(records: NDArray[Any], file: int) -> int:
    """How many records from the first on have the bytes they describe; only the newest are looked at."""
    sizes = 3 * records["height"].astype(np.int64) * records["width"]
    first = len(records) - int((np.cumsum(sizes[::-1]) <= 2 * SYNC_BYTES).sum())
    for number in range(first, len(records)):
        content = os.pread(file, int(sizes[number]), 3 * int(records["first"][number]))
        if zlib.crc32(content) != int(records["crc"][number]):
            return number
    return len(records)
