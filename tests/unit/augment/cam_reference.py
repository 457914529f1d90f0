"""CAM-based generation for one image, pixel by pixel in float64, written from the description alone."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def upsample(level: Array, size: int) -> Array:
    """Bilinear, half-pixel centres, edges held."""
    out = np.zeros((size, size))
    height, width = level.shape
    for row in range(size):
        for column in range(size):
            y = min(max((row + 0.5) * height / size - 0.5, 0), height - 1)
            x = min(max((column + 0.5) * width / size - 0.5, 0), width - 1)
            top, left = int(y), int(x)
            below, right = min(top + 1, height - 1), min(left + 1, width - 1)
            b, a = y - top, x - left
            out[row, column] = (
                (1 - b) * (1 - a) * level[top, left]
                + (1 - b) * a * level[top, right]
                + b * (1 - a) * level[below, left]
                + b * a * level[below, right]
            )
    return out


def mask_of(level: Array, size: int, threshold: float, official: bool) -> NDArray[np.bool_]:
    if not official:
        large = upsample(level, size)
        return large > threshold * large.mean()
    large = np.rint(upsample(np.floor(level * 255), size))
    return (large >= threshold * large.mean()) & (large.mean() > 0)


def box_of(mask: NDArray[np.bool_], official: bool) -> tuple[int, int, int, int]:
    """Top, left, bottom, right."""
    rows = [row for row in range(len(mask)) if mask[row].any()]
    columns = [column for column in range(len(mask)) if mask[:, column].any()]
    if not rows:
        return 0, 0, 0, 0
    if official:
        return rows[0], columns[0], rows[:2][-1], columns[:2][-1]
    return rows[0], columns[0], rows[-1], columns[-1]


def origin(
    name: str,
    row: int,
    column: int,
    amount: tuple[float, float],
    box: tuple[int, int, int, int],
    size: int,
    whole: bool,
) -> tuple[float, float]:
    """From where the transform fetches a pixel."""
    top, left, bottom, right = box
    if name == "flip":
        return row, size - 1 - column
    if name == "translate":
        dx = math.floor(amount[0] * (size - right + left)) - left
        dy = math.floor(amount[1] * (size - bottom + top)) - top
        return row - dy, column - dx
    degrees = amount[0] * 90 - 45
    factor = 0.8 + 0.4 * amount[1]
    if whole:
        degrees, factor = math.floor(amount[0] * 90) - 45, 0.8 + math.floor(amount[1] * 40 + 1e-9) / 100
    angle = math.radians(degrees) if "rotate" in name else 0.0
    factor = factor if "scale" in name else 1.0
    cy, cx = (top + bottom) / 2, (left + right) / 2
    dy, dx = row - cy, column - cx
    return (
        (math.cos(angle) * dy - math.sin(angle) * dx) / factor + cy,
        (math.cos(angle) * dx + math.sin(angle) * dy) / factor + cx,
    )


def pixel(image: Array, y: float, x: float, black_outside: bool) -> Array:
    """Bilinear between pixels of ``[3,S,S]``."""
    size = image.shape[-1]
    if not black_outside:
        y, x = min(max(y, 0), size - 1), min(max(x, 0), size - 1)
    top, left = math.floor(y), math.floor(x)
    value = np.zeros(3)
    for r, share_r in ((top, 1 - (y - top)), (top + 1, y - top)):
        for c, share_c in ((left, 1 - (x - left)), (left + 1, x - left)):
            if 0 <= r < size and 0 <= c < size:
                value += share_r * share_c * image[:, r, c]
    return value


def compose(
    image: Array,
    mask: NDArray[np.bool_],
    name: str,
    amount: tuple[float, float],
    box: tuple[int, int, int, int],
    official: bool,
) -> Array:
    """The generated image ``[3,S,S]``, rounded to whole numbers."""
    size = image.shape[-1]
    out = image.copy()
    for row in range(size):
        for column in range(size):
            y, x = origin(name, row, column, amount, box, size, official)
            inside = -0.5 <= y < size - 0.5 and -0.5 <= x < size - 0.5
            moved = inside and mask[math.floor(y + 0.5), math.floor(x + 0.5)]
            if not (mask[row, column] or moved):
                continue
            value = np.rint(pixel(image, y, x, official))
            if official:
                out[:, row, column] = np.where(value != 0, value, image[:, row, column])
            elif inside:
                out[:, row, column] = value
    return out
