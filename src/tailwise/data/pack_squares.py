"""Squares of one size from packed images: what evaluation reads, and training without random resized crops."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tailwise.data.images import decode, in_threads
from tailwise.data.pack import PackedImages
from tailwise.data.pool import Pool


def packed_squares(
    images: PackedImages,
    positions: NDArray[np.int64],
    size: int,
    *,
    zoom: float = 1.0,
    workers: int = 2,
    out: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """The middle of packed images, as :func:`tailwise.data.images.decode` cuts it out of decoded ones.

    Where the packed short side is ``size * zoom`` rounded already, the centre is cut out and nothing is resized.
    Otherwise the packed pixels take the place of the image file's.

    Args:
        images: One split of a pack.
        positions: ``n`` readable images.
        size: Side of the results in pixels.
        zoom: The short side is brought to ``zoom * size`` before the centre is cut out.
        workers: Threads.
        out: Where to write them, uint8 ``[n,3,size,size]``.

    Returns:
        uint8 ``[n,3,size,size]``.
    """
    squares = np.empty((len(positions), 3, size, size), dtype=np.uint8) if out is None else out

    def fill(row: int) -> None:
        image = images.image(int(positions[row]))
        squares[row] = _square(image, size, zoom)

    for _ in in_threads(fill, range(len(positions)), workers):
        pass
    return squares


def _square(image: NDArray[np.uint8], size: int, zoom: float) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    if min(height, width) == round(size * zoom):
        top, left = (height - size) // 2, (width - size) // 2
        return image[top : top + size, left : left + size].transpose(2, 0, 1)
    alone = Pool("pack", "", ("",), np.zeros(1, dtype=np.int64), array=image[None])
    return decode(alone, 0, size, zoom)
