"""The files of an image pack: what is in them, and reading them one by one.

A pack is a folder:

- ``pack.json``: the format's name, ``mode`` and ``size``, ``source``, the command that makes the pack, the versions
  that made it, and for ``train`` and ``eval`` the split, its number of images and the checksum of the image list.
  Once everything is packed also ``complete``, the bytes of both flat files, and ``checksum``, the SHA-256 of both
  index files. These hold a CRC-32 of every image, so it covers the pixels too.
- ``train.bin`` and ``eval.bin``: the pixels, image after image, row after row, red green blue, 8 bits each.
- ``train.index`` and ``eval.index``: a record of 24 bytes (:data:`RECORD`) for each image, in the order of the pool.
- ``unreadable.jsonl``: a line for each image that could not be read, with the reason.

Mode ``square`` holds what :func:`tailwise.data.images.decode` gives; mode ``short`` holds whole images whose short side
has ``size`` pixels (:func:`tailwise.data.pack_writer.packed_pixels`).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tailwise.core.errors import DataError
from tailwise.core.spec import SpecError, from_plain
from tailwise.data.pool import Pool

FORMAT = "tailwise-pack-1"
HEADER, UNREADABLE = "pack.json", "unreadable.jsonl"
PARTS = ("train", "eval")
Mode = Literal["short", "square"]

#: One image: its first pixel in the flat file, height, width, CRC-32 of its bytes, and ``status``: 0 for an image, 1
#: for one that could not be read, whose height and width are 0.
RECORD = np.dtype([("first", "<i8"), ("height", "<i4"), ("width", "<i4"), ("crc", "<u4"), ("status", "<u4")])


@dataclass(frozen=True, kw_only=True)
class PartHeader:
    """What ``pack.json`` says of one split."""

    split: str
    images: int
    num_classes: int
    list_checksum: str
    bytes: int = 0
    unreadable: int = 0


@dataclass(frozen=True, kw_only=True)
class Header:
    """What ``pack.json`` says."""

    mode: Mode
    size: int
    source: str
    command: str
    train: PartHeader
    eval: PartHeader
    made_with: dict[str, str]
    complete: bool = False
    checksum: str = ""
    format: str = FORMAT

    def part(self, name: str) -> PartHeader:
        """The header of ``train`` or ``eval``."""
        return self.train if name == "train" else self.eval


def write_header(folder: Path, header: Header) -> None:
    """Writes ``pack.json`` at once or not at all.

    Raises:
        OSError: The folder cannot be written.
    """
    temporary = folder / f".{HEADER}.tmp"
    with temporary.open("w", encoding="utf-8") as file:
        file.write(json.dumps(dataclasses.asdict(header), indent=1) + "\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(folder / HEADER)


def read_header(folder: Path) -> Header:
    """What ``pack.json`` says.

    Raises:
        DataError: No such folder, no pack, a header that cannot be understood, or one of another version.
    """
    if not (folder / HEADER).is_file():
        what = "no such folder" if not folder.exists() else f"not an image pack (there is no {HEADER} in it)"
        raise DataError(f"{folder}: {what}; `tailwise data pack NAME|PATH --size 256 --out DIR` makes one")
    try:
        content: Any = json.loads((folder / HEADER).read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise DataError(f"{folder}: a pack of format {content['format']!r}; this version reads {FORMAT!r}")
        return from_plain(Header, content)
    except (OSError, ValueError, KeyError, TypeError, SpecError) as error:
        raise DataError(f"{folder}: {HEADER} is damaged ({type(error).__name__}: {error})") from error


def read_records(folder: Path, part: str) -> NDArray[Any]:
    """The index of ``train`` or ``eval``: whole records only, none when there is no such file.

    Raises:
        DataError: The file cannot be read.
    """
    try:
        content = (folder / f"{part}.index").read_bytes()
    except FileNotFoundError:
        content = b""
    except OSError as error:
        raise DataError(f"{folder}: {part}.index cannot be read: {error.strerror or error}") from error
    return np.frombuffer(content, dtype=RECORD, count=len(content) // RECORD.itemsize)


def read_reasons(folder: Path, part: str) -> dict[int, str]:
    """Why images could not be read, by position; a line that a kill cut off is passed over."""
    path = folder / UNREADABLE
    reasons: dict[int, str] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else ():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if entry["part"] == part:
            reasons[int(entry["position"])] = str(entry["reason"])
    return reasons


def list_checksum(pool: Pool) -> str:
    """SHA-256 of which images a pool lists, in order: relative paths, or the images in memory.

    Labels and class names do not enter, so the same pack serves other labels of the same images.
    """
    digest = hashlib.sha256(str(len(pool)).encode())
    if pool.paths is not None:
        digest.update("\0".join(pool.paths).encode(errors="surrogateescape"))
    if pool.array is not None:
        digest.update(str(pool.array.shape).encode())
        digest.update(np.ascontiguousarray(pool.array).data)
    return digest.hexdigest()
