"""Decoding: square uint8 images of one size, many at a time, with a reason for every file that fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tailwise.core.errors import DataError
from tailwise.data.index import Pool
from tailwise.data.rgb import Box, OpenedFile, UnreadableImage

T = TypeVar("T")

#: Called with the number of images done and the total.
Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class OpenedArray:
    """An image in memory, ``[H,W]`` grey or ``[H,W,3]`` RGB, with the face of an opened file."""

    array: NDArray[np.uint8]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.array.shape[1], self.array.shape[0]

    def cut(self, box: Box, at_least: int) -> NDArray[np.uint8]:
        """A part of the image as RGB ``[h,w,3]``; at full size whatever would be enough."""
        del at_least
        top, left, tall, wide = box
        part = self.array[top : top + tall, left : left + wide]
        return np.repeat(part[:, :, None], 3, axis=2) if part.ndim == 2 else part.copy()


def open_image(pool: Pool, position: int) -> OpenedFile | OpenedArray:
    """One image of a pool: its size is known, its pixels are decoded when they are asked for.

    Raises:
        UnreadableImage: The file is missing or not an image.
    """
    path = pool.path_of(position)
    if path is not None:
        return OpenedFile(path, pool.name_of(position))
    assert pool.array is not None
    return OpenedArray(pool.array[position])


def decode(pool: Pool, position: int, size: int, zoom: float = 1.0) -> NDArray[np.uint8]:
    """One image as a square of ``size`` pixels.

    The short side is brought to ``size`` by antialiased bilinear interpolation (an image that has it already is left
    as it is) and the centre is kept. The centre square is cut first and scaled after, which shows the same square
    without the huge intermediate image that a long, thin picture would need.

    Args:
        pool: Where the image is.
        position: Its position in the pool.
        size: Side of the result in pixels.
        zoom: The short side is brought to ``zoom * size`` before the centre is cut out; 256 / 224 is the evaluation
            of the ImageNet protocols.

    Returns:
        Shape ``[3, size, size]``, RGB.

    Raises:
        UnreadableImage: The file is missing, damaged or not an image.
        DataError: A size below 1.
    """
    pixels = np.asarray(centre_square(pool, position, size, zoom), dtype=np.uint8)
    return np.array(pixels.transpose(2, 0, 1), order="C")


def centre_square(pool: Pool, position: int, size: int, zoom: float = 1.0) -> Image.Image:
    """What :func:`decode` gives, as a Pillow image."""
    _check_size(size)
    return cut_square(pool.read(position, at_least=round(size * zoom)), size, zoom)


def cut_square(image: Image.Image, size: int, zoom: float = 1.0) -> Image.Image:
    """The centre square of an RGB image, brought to ``size`` pixels; see :func:`decode`."""
    side = min(image.size) / zoom
    left, top = (image.width - side) / 2, (image.height - side) / 2
    if zoom == 1.0:
        left, top = int(left), int(top)
    square = (left, top, left + side, top + side)
    if side == size and zoom == 1.0:
        return image.crop((int(left), int(top), int(left) + size, int(top) + size))
    return image.resize((size, size), Image.Resampling.BILINEAR, box=square)


def decode_many(
    pool: Pool,
    positions: Sequence[int] | NDArray[np.int64],
    size: int,
    workers: int = 2,
    on_progress: Progress | None = None,
    zoom: float = 1.0,
) -> tuple[NDArray[np.uint8], dict[int, str]]:
    """Many images at once, in the order of ``positions``.

    Args:
        pool: Where the images are.
        positions: ``n`` positions in the pool.
        size: Side of the results in pixels.
        workers: Decoding threads (Pillow decodes outside the interpreter lock).
        on_progress: Called with the number of images done and ``n``.
        zoom: See :func:`decode`.

    Returns:
        Images of shape ``[n, 3, size, size]``, and the reason for every position that could not be read; its row is
        black.

    Raises:
        DataError: A size below 1.
    """
    _check_size(size)
    order = [int(position) for position in positions]
    if pool.array is not None and pool.array.shape[1:3] == (size, size) and zoom == 1.0:
        rows = pool.array[order]
        rows = np.repeat(rows[:, None], 3, axis=1) if rows.ndim == 3 else rows.transpose(0, 3, 1, 2)
        if on_progress is not None:
            on_progress(len(order), len(order))
        return np.ascontiguousarray(rows), {}
    images = np.zeros((len(order), 3, size, size), dtype=np.uint8)
    bad: dict[int, str] = {}

    def fill(row: int) -> str | None:
        try:
            images[row] = decode(pool, order[row], size, zoom)
        except UnreadableImage as error:
            return error.reason
        return None

    for row, reason in enumerate(in_threads(fill, range(len(order)), workers)):
        if reason is not None:
            bad[order[row]] = reason
        if on_progress is not None:
            on_progress(row + 1, len(order))
    return images, bad


def find_unreadable(
    pool: Pool,
    positions: Sequence[int] | NDArray[np.int64],
    workers: int = 2,
    on_progress: Progress | None = None,
) -> dict[int, str]:
    """Reads every image to its end and returns the reason for each position that fails.

    A JPEG is decoded at an eighth of its size. This takes half the time and finds the same files: all of the data is
    decompressed, only the cosine transform, which accepts any data, has less to do.
    """
    order = [int(position) for position in positions]
    if pool.array is not None:
        if on_progress is not None:
            on_progress(len(order), len(order))
        return {}

    def check(position: int) -> str | None:
        try:
            pool.read(position, at_least=1)
        except UnreadableImage as error:
            return error.reason
        return None

    bad: dict[int, str] = {}
    for done, (position, reason) in enumerate(zip(order, in_threads(check, order, workers), strict=True), start=1):
        if reason is not None:
            bad[position] = reason
        if on_progress is not None:
            on_progress(done, len(order))
    return bad


def sample_sizes(pool: Pool, sample: int = 200) -> list[tuple[int, int]]:
    """Width and height of up to ``sample`` readable images, spread evenly over the pool."""
    spread = np.unique(np.linspace(0, len(pool) - 1, min(sample, len(pool))).astype(np.int64)) if len(pool) else ()
    sizes: list[tuple[int, int]] = []
    for position in spread:
        try:
            sizes.append(pool.size_of(int(position)))
        except UnreadableImage:
            continue
    return sizes


def in_threads(call: Callable[[int], T], items: Sequence[int], workers: int) -> Iterator[T]:
    """``call`` of every item, in order; what has not started is given up when the caller stops early."""
    if workers <= 1:
        yield from map(call, items)
        return
    with ThreadPoolExecutor(workers) as pool:
        yield from pool.map(call, items)


def _check_size(size: int) -> None:
    if size < 1:
        raise DataError(f"image size must be 1 pixel or more, got {size}")
