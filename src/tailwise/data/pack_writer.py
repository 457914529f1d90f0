"""Writing an image pack: decoded in threads, written in order, taken up again where an interruption left it."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import importlib.metadata
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import PIL
from numpy.typing import NDArray

from tailwise.core.errors import DataError
from tailwise.data.images import Progress
from tailwise.data.open import Splits
from tailwise.data.pack_ahead import in_order
from tailwise.data.pack_folder import PartWriter, claimed
from tailwise.data.pack_format import PARTS, Header, Mode, PartHeader, list_checksum, write_header
from tailwise.data.pack_pixels import packed_pixels
from tailwise.data.pool import Pool
from tailwise.data.rgb import UnreadableImage


def new_header(splits: Splits, mode: Mode, size: int, command: str) -> Header:
    """The header of a pack that is still to be filled.

    Args:
        splits: The data to pack: all images of both pools, since a long tail is cut later.
        mode: ``short`` or ``square``.
        size: Pixels of the short side.
        command: What a person types to make it or to go on.

    Raises:
        DataError: A size below 1.
    """
    if size < 1:
        raise DataError(f"a pack needs a size of 1 pixel or more, got {size}")
    train, test = (
        PartHeader(split=pool.split, images=len(pool), num_classes=pool.num_classes, list_checksum=list_checksum(pool))
        for pool in (splits.train, splits.test)
    )
    made_with = {"tailwise": importlib.metadata.version("tailwise"), "pillow": PIL.__version__}
    return Header(
        mode=mode,
        size=size,
        source=splits.train.source,
        command=command,
        train=train,
        eval=test,
        made_with=made_with,
    )


def write_pack(
    folder: Path, splits: Splits, header: Header, *, workers: int = 2, on_progress: Progress | None = None
) -> Header:
    """Packs every image that the folder does not hold yet.

    An interruption at any moment (Ctrl-C, a kill, a full disk) keeps every image that was written; the same call goes
    on behind them and does not decode them again.

    Args:
        folder: Where the pack lies or shall lie.
        splits: The data.
        header: From :func:`new_header`.
        workers: Decoding threads; the pack does not depend on their number.
        on_progress: Called with the number of images done, those found included, and their total.

    Returns:
        The header of the complete pack.

    Raises:
        DataError: The folder holds something else, or cannot be written.
    """
    try:
        with claimed(folder, header, splits) as found:
            return found if found.complete else _fill(folder, splits, found, workers, on_progress)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = "the disk is full" if full else (error.strerror or str(error))
        raise DataError(
            f"cannot write to {folder}: {reason}. The images packed so far are kept"
            f"{'; free some space and' if full else '; then'} go on with: {header.command}"
        ) from error


def _fill(folder: Path, splits: Splits, header: Header, workers: int, on_progress: Progress | None) -> Header:
    total, before = len(splits.train) + len(splits.test), 0
    filled: dict[str, PartHeader] = {}
    digest = hashlib.sha256()
    for part, pool in zip(PARTS, (splits.train, splits.test), strict=True):
        writer = PartWriter(folder, part, len(pool))
        try:
            for image, reason in _decoded(pool, range(writer.done, len(pool)), header, workers):
                writer.add(image, reason)
                if on_progress is not None:
                    on_progress(before + writer.done, total)
            writer.sync()
        finally:
            writer.close()
        before += len(pool)
        digest.update((folder / f"{part}.index").read_bytes())
        filled[part] = dataclasses.replace(header.part(part), bytes=writer.bytes, unreadable=writer.unreadable)
    complete = dataclasses.replace(header, complete=True, checksum=digest.hexdigest(), **filled)
    write_header(folder, complete)
    return complete


def _decoded(
    pool: Pool, positions: range, header: Header, workers: int
) -> Iterator[tuple[NDArray[np.uint8] | None, str]]:
    """Images in order, or None with a reason."""

    def one(position: int) -> tuple[NDArray[np.uint8] | None, str]:
        try:
            return packed_pixels(pool, position, header.mode, header.size), ""
        except UnreadableImage as error:
            return None, error.reason

    return in_order(one, positions, workers=workers, ahead=4 * workers)
