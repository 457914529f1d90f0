"""What a pack holds of an image: decoded, and brought to the pack's size."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tailwise.data.images import decode, sample_sizes
from tailwise.data.pack_format import Mode
from tailwise.data.pool import Pool

#: Longest side of a packed image, in short sides. Of a longer, thinner picture the centre is kept.
LONGEST = 8


def packed_pixels(pool: Pool, position: int, mode: Mode, size: int) -> NDArray[np.uint8]:
    """One image as it is packed.

    Args:
        pool: Where the image is.
        position: Its position in the pool.
        mode: ``square`` gives :func:`tailwise.data.images.decode`'s square. ``short`` brings the short side to ``size``
            by the same antialiased bilinear interpolation and keeps the proportion, rounded to whole pixels; an image
            whose short side is ``size`` already stays as it is. Pictures longer than :data:`LONGEST` short sides are
            cut to that in the middle.
        size: Pixels of the short side.

    Returns:
        Shape ``[height, width, 3]``, RGB, contiguous.

    Raises:
        UnreadableImage: The file is missing, damaged or not an image.
    """
    if mode == "square":
        return np.ascontiguousarray(decode(pool, position, size).transpose(1, 2, 0))
    image = pool.read(position, at_least=size)
    width, height = _limited(*image.size)
    target_width, target_height = _target(width, height, size)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    box = (left, top, left + width, top + height)
    if (target_width, target_height) == (width, height):
        image = image.crop(box)
    else:
        image = image.resize((target_width, target_height), Image.Resampling.BILINEAR, box=box)
    return np.ascontiguousarray(np.asarray(image, dtype=np.uint8))


def expected_bytes(pool: Pool, mode: Mode, size: int) -> int:
    """About how many bytes a pool takes when it is packed, from the sizes of up to 200 images."""
    if mode == "square":
        return 3 * size * size * len(pool)
    sizes = [_target(*_limited(*found), size) for found in sample_sizes(pool)] or [(size, size)]
    return round(3 * len(pool) * sum(width * height for width, height in sizes) / len(sizes))


def _limited(width: int, height: int) -> tuple[int, int]:
    longest = LONGEST * min(width, height)
    return min(width, longest), min(height, longest)


def _target(width: int, height: int, size: int) -> tuple[int, int]:
    short = min(width, height)
    return round(width * size / short), round(height * size / short)
