"""AutoAugment's operations for a whole batch, another one for every image (cubuk2019autoaugment).

The numbers are those of torchvision's operations on 8-bit images: equal where these compute with integers, within one
level where a product is cut to a whole number. Only static shapes and no look at the data: safe inside a CUDA graph.

Every image pays for every kind of operation: one gather for the shears, translations and rotations together; one
histogram and one gather through a table of 256 values for all operations that treat pixels alone; one blend for colour
and sharpness. That is about the work of two operations for each of the two turns, where a loop over images does one.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tailwise.augment.auto_policy import OPERATIONS
from tailwise.augment.auto_tables import tables
from tailwise.augment.color_jitter import GREY

_NUMBER = {name: number for number, name in enumerate(OPERATIONS)}


def auto_augment(image: Tensor, operation: Tensor, magnitude: Tensor) -> Tensor:
    """Each image through its own two operations.

    Args:
        image: uint8 ``[B,3,H,W]``.
        operation: int64 ``[B,2]``, places in :data:`~tailwise.augment.auto_policy.OPERATIONS`.
        magnitude: float32 ``[B,2]``, as :func:`~tailwise.augment.auto_policy.draw_auto` gives them.

    Returns:
        uint8 ``[B,3,H,W]``.
    """
    for turn in range(operation.shape[1]):
        image = operate(image, operation[:, turn], magnitude[:, turn])
    return image


def operate(image: Tensor, operation: Tensor, magnitude: Tensor) -> Tensor:
    """Each image through one operation; ``[B,3,H,W]``, ``[B]``, ``[B]`` -> ``[B,3,H,W]``."""
    image = moved(image, operation, magnitude)
    grey = (GREY[0] * image[:, :1] + GREY[1] * image[:, 1:2] + GREY[2] * image[:, 2:]).floor()
    flat = image.flatten(2).long()
    mapped = tables(flat, grey.mean(dim=(1, 2, 3)), operation, magnitude).gather(2, flat).view(image.shape)
    number = operation[:, None, None, None]
    # The magnitude is the change of the factor: 0 leaves the image alone.
    change = magnitude[:, None, None, None]
    pixels = image.float()
    coloured = pixels * (1 + change) - grey * change
    sharpened = pixels - (_blurred(pixels) - pixels) * change
    blended = torch.where(number == _NUMBER["color"], coloured, sharpened).clamp(0, 255).to(torch.uint8)
    either = (number == _NUMBER["color"]) | (number == _NUMBER["sharpness"])
    return torch.where(either, blended, mapped)


def moved(image: Tensor, operation: Tensor, magnitude: Tensor) -> Tensor:
    """Shears, translations and rotations: the nearest pixel of the source, black outside; others stay as they are."""
    height, width = image.shape[-2:]
    device = image.device
    zero, one = torch.zeros_like(magnitude), torch.ones_like(magnitude)
    angle = torch.where(operation == _NUMBER["rotate"], magnitude, zero).double().deg2rad()
    cosine, sine = angle.cos().float(), angle.sin().float()
    slope_x = torch.where(operation == _NUMBER["shear_x"], magnitude, zero)
    slope_y = torch.where(operation == _NUMBER["shear_y"], magnitude, zero)
    # Coordinates from the middle. A shear keeps the upper or left edge, so it comes with half a side's worth.
    left = slope_x * (height / 2) - torch.where(operation == _NUMBER["translate_x"], magnitude, zero)
    up = slope_y * (width / 2) - torch.where(operation == _NUMBER["translate_y"], magnitude, zero)
    x = torch.arange(width, device=device) - (width - 1) / 2
    y = torch.arange(height, device=device) - (height - 1) / 2

    def source(along_x: Tensor, along_y: Tensor, shift: Tensor, side: int) -> Tensor:
        place = along_x[:, None, None] * x + along_y[:, None, None] * y[:, None] + shift[:, None, None]
        return (place + (side - 1) / 2).round().long()

    column = source(cosine * one, slope_x - sine, left, width)
    row = source(sine + slope_y, cosine * one, up, height)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    place = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
    channels = image.shape[1]
    found = image.flatten(2).gather(2, place.flatten(1)[:, None].expand(-1, channels, -1)).view(image.shape)
    return found * inside[:, None]


def _blurred(pixels: Tensor) -> Tensor:
    """A 3 x 3 mean in which the middle counts five times, rounded; the border stays as it is."""
    height, width = pixels.shape[-2:]
    if height <= 2 or width <= 2:
        return pixels
    total = 4 * pixels[..., 1:-1, 1:-1]
    for down in range(3):
        for right in range(3):
            total = total + pixels[..., down : height - 2 + down, right : width - 2 + right]
    inner = (total / 13).round()
    result = pixels.clone()
    result[..., 1:-1, 1:-1] = inner
    return result
