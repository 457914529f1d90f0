"""The full check of a pack: every image's bytes against the CRC-32 in the index."""

from __future__ import annotations

import zlib
from collections.abc import Callable

from tailwise.data.images import Progress, in_threads
from tailwise.data.pack import Pack, PackedImages
from tailwise.data.pack_format import PARTS


def damaged_images(pack: Pack, workers: int = 2, on_progress: Progress | None = None) -> dict[str, list[int]]:
    """Reads every pixel.

    Args:
        pack: An open pack, whose index was checked when it was opened.
        workers: Threads.
        on_progress: Called with the number of images checked and their total.

    Returns:
        For ``train`` and ``eval`` the positions of images whose bytes are not those that were packed.
    """
    parts = {part: pack.train if part == "train" else pack.eval for part in PARTS}
    total, done = sum(len(images.first) for images in parts.values()), 0
    damaged: dict[str, list[int]] = {}
    for part, images in parts.items():
        damaged[part] = []
        for position, crc in enumerate(in_threads(_crc_of(images), range(len(images.first)), workers)):
            if crc != int(images.crc[position]):
                damaged[part].append(position)
            done += 1
            if on_progress is not None:
                on_progress(done, total)
    return damaged


def _crc_of(images: PackedImages) -> Callable[[int], int]:
    return lambda position: zlib.crc32(images.image(position).data)
