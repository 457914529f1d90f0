"""Operations of AutoAugment that treat every pixel alone, as one table of 256 values for each channel of an image."""

from __future__ import annotations

import torch
from torch import Tensor

from tailwise.augment.auto_policy import OPERATIONS

_NUMBER = {name: number for number, name in enumerate(OPERATIONS)}


def tables(flat: Tensor, mean: Tensor, operation: Tensor, magnitude: Tensor) -> Tensor:
    """What becomes of every value; the identity for the operations that are none of these.

    Args:
        flat: Pixel values int64 ``[B,3,P]``.
        mean: Of the grey picture, rounded down pixel by pixel, float ``[B]``.
        operation: int64 ``[B]``.
        magnitude: float ``[B]``.

    Returns:
        uint8 ``[B,3,256]``.
    """
    value = torch.arange(256, device=flat.device)
    number, strength = operation[:, None, None], magnitude[:, None, None]
    counts = torch.zeros(*flat.shape[:2], 256, dtype=torch.int32, device=flat.device)
    counts = counts.scatter_add(2, flat, torch.ones_like(flat, dtype=torch.int32))
    factor = 1 + strength
    bits = (8 - strength).clamp(0, 8).long()
    choices = {
        "brightness": value * factor,
        "contrast": value * factor + mean[:, None, None] * (1 - factor),
        "posterize": ((value >> bits) << bits).float(),
        "solarize": torch.where(value >= strength, 255 - value, value).float(),
        "autocontrast": _stretched(counts, value),
        "equalize": _equalized(counts, value),
        "invert": (255 - value).float(),
    }
    result = value.float().expand(counts.shape)
    for name, choice in choices.items():
        result = torch.where(number == _NUMBER[name], choice, result)
    return result.clamp(0, 255).to(torch.uint8)


def _stretched(counts: Tensor, value: Tensor) -> Tensor:
    """From the least to the largest value of a channel becomes from 0 to 255; one value only stays."""
    there = counts > 0
    low = torch.where(there, value, 255).amin(2, keepdim=True).float()
    high = torch.where(there, value, 0).amax(2, keepdim=True).float()
    scale = (high - low) * (1 / 255)
    same = high == low
    return torch.where(same, value.float(), (value - low) / torch.where(same, 1.0, scale))


def _equalized(counts: Tensor, value: Tensor) -> Tensor:
    """Values spread so that each is as frequent as any other, by Pillow's rule, in whole numbers."""
    total = counts.cumsum(2, dtype=torch.int32)
    # The largest value of a channel is the first at which all pixels are counted.
    largest = total.argmax(2, keepdim=True)
    step = (total[:, :, -1:] - counts.gather(2, largest)).div(255, rounding_mode="floor")
    before = torch.cat([torch.zeros_like(total[:, :, :1]), total[:, :, :-1]], dim=2)
    spread = (before + step // 2).div(step.clamp(min=1), rounding_mode="floor")
    # Nothing is below the least value, and Pillow's table begins with 0 there.
    spread = torch.where(value == 0, 0, spread)
    return torch.where(step == 0, value, spread).float()
