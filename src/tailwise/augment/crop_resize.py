"""RandomResizedCrop (szegedy2015going) for a whole batch: boxes drawn on the host, cut out and scaled on the device."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

#: Share of the image's area that a box covers, and its width over height; torchvision's defaults.
SCALE, RATIO = (0.08, 1.0), (3 / 4, 4 / 3)
#: Boxes that are tried before the centre is taken.
ATTEMPTS = 10


def draw_boxes(sizes: NDArray[np.int64], generator: np.random.Generator) -> NDArray[np.int64]:
    """A box for every image by the rule of torchvision's ``RandomResizedCrop``.

    An area uniform in :data:`SCALE` and an aspect ratio log-uniform in :data:`RATIO` are tried up to ten times; the
    first box that fits is put at a uniform place. An image that none fits gets the largest centred box whose ratio is
    allowed. As many numbers are drawn for every image, whatever its size.

    Args:
        sizes: Height and width of each image, ``[...,2]``.
        generator: Source of all numbers.

    Returns:
        Top, left, height and width in pixels, ``[...,4]``.
    """
    height, width = sizes[..., 0], sizes[..., 1]
    box_height, box_width = _centre(height, width)
    found = np.zeros(height.shape, dtype=np.bool_)
    low, high = math.log(RATIO[0]), math.log(RATIO[1])
    for _ in range(ATTEMPTS):
        area = height * width * generator.uniform(*SCALE, height.shape)
        ratio = np.exp(generator.uniform(low, high, height.shape))
        tall = np.rint(np.sqrt(area / ratio)).astype(np.int64)
        wide = np.rint(np.sqrt(area * ratio)).astype(np.int64)
        fits = ~found & (tall > 0) & (tall <= height) & (wide > 0) & (wide <= width)
        box_height, box_width = np.where(fits, tall, box_height), np.where(fits, wide, box_width)
        found |= fits
    room = np.stack([height - box_height, width - box_width], axis=-1)
    place = np.floor(generator.random(room.shape) * (room + 1)).astype(np.int64)
    corner = np.where(found[..., None], place, room // 2)
    return np.concatenate([corner, box_height[..., None], box_width[..., None]], axis=-1)


def crop_resize(flat: Tensor, offset: Tensor, width: Tensor, box: Tensor, flip: Tensor, grid: Tensor) -> Tensor:
    """Boxes of images of any shapes as squares of one size: bilinear, half-pixel centres, edges held inside the box.

    The numbers are those of torchvision's ``resized_crop(..., antialias=False)`` on floating-point images, then
    ``horizontal_flip``. Deviation from crops of image files on the host path: those are cut from the full-size image,
    antialiased and rounded to 8 bits. Here a box larger than the result is sampled at four pixels for each pixel of
    the result, without antialiasing, so packed images should not be much larger than the result; nothing is rounded.

    Only indexing with static shapes: safe inside a CUDA graph and one kernel under ``torch.compile``.

    Args:
        flat: uint8 ``[P,3]``, the pixels of all images one after the other, row by row.
        offset: int64 ``[B]``, where each image begins in ``flat``.
        width: int64 ``[B]``, pixels in a row of each image.
        box: int64 ``[B,4]``, top, left, height and width of what is cut out.
        flip: bool ``[B]``, mirror left and right.
        grid: float32 ``[S]``, :func:`pixel_centres` of the result.

    Returns:
        float32 ``[B,3,S,S]`` from 0 to 255, in channels-last memory.
    """
    top, left, tall, wide = box.unbind(1)
    row, next_row, down = _taps(grid.expand(box.shape[0], -1), tall)
    column, next_column, right = _taps(torch.where(flip[:, None], grid.flip(0), grid), wide)
    start = (offset + top * width + left)[:, None]
    row, next_row = start + row * width[:, None], start + next_row * width[:, None]
    right, down = right[:, None, :, None], down[:, :, None, None]

    def pixels(rows: Tensor, columns: Tensor) -> Tensor:
        place = rows[:, :, None] + columns[:, None, :]
        return flat.index_select(0, place.flatten()).view(*place.shape, 3).to(grid.dtype)

    upper = torch.lerp(pixels(row, column), pixels(row, next_column), right)
    lower = torch.lerp(pixels(next_row, column), pixels(next_row, next_column), right)
    return torch.lerp(upper, lower, down).permute(0, 3, 1, 2)


def pixel_centres(size: int, device: torch.device) -> Tensor:
    """Middles of ``size`` pixels as shares of the whole side, float32 ``[size]``."""
    return (torch.arange(size, device=device, dtype=torch.float32) + 0.5) / size


def _taps(grid: Tensor, length: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The two source pixels ``[B,S]`` of every pixel of the result, and the share of the second."""
    last = (length - 1)[:, None]
    at = (grid * length[:, None] - 0.5).clamp(min=0)
    first = torch.minimum(at.long(), last)
    return first, torch.minimum(first + 1, last), at - first


def _centre(height: NDArray[np.int64], width: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    ratio = width / height
    tall = np.where(ratio < RATIO[0], np.rint(width / RATIO[0]).astype(np.int64), height)
    wide = np.where(ratio > RATIO[1], np.rint(height * RATIO[1]).astype(np.int64), width)
    return tall, wide
