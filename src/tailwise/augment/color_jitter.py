"""Brightness, contrast and saturation with a factor and an order of their own for every image of a batch."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

#: Weights of red, green and blue in the grey picture (ITU-R BT.601, as torchvision has them).
GREY = (0.2989, 0.587, 0.114)
BRIGHTNESS, CONTRAST, SATURATION = 0, 1, 2


def draw_jitter(
    shape: tuple[int, ...], strength: float, factors: np.random.Generator, orders: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Factors and orders for so many images, as torchvision's ``ColorJitter`` draws them.

    Args:
        shape: Of the images, for example steps and batch.
        strength: Factors are uniform from ``max(0, 1 - strength)`` to ``1 + strength``.
        factors: Source of the factors.
        orders: Source of the orders.

    Returns:
        Factors of brightness, contrast and saturation, float32 ``[*shape,3]``; and which of the three acts first,
        second and third, ``[*shape,3]``.
    """
    factor = factors.uniform(max(0.0, 1 - strength), 1 + strength, (*shape, 3))
    return factor.astype(np.float32), orders.random((*shape, 3)).argsort(axis=-1)


def color_jitter(image: Tensor, factor: Tensor, order: Tensor) -> Tensor:
    """Each image with its own factors in its own order.

    All three changes are ``factor * image + (1 - factor) * other``, cut to the range; ``other`` is black, the mean of
    the grey picture, or the grey picture. The numbers are those of torchvision's ``adjust_brightness``,
    ``adjust_contrast`` and ``adjust_saturation`` on floating-point images. Deviation from the host path: its
    images are rounded to 8 bits once more, after the last change.

    Args:
        image: float ``[B,3,H,W]`` from 0 to 255.
        factor: float ``[B,3]``, by change.
        order: int64 ``[B,3]``, the changes in the order in which they act.

    Returns:
        float ``[B,3,H,W]`` from 0 to 255.
    """
    for turn in range(order.shape[1]):
        change = order[:, turn : turn + 1]
        strength = factor.gather(1, change)[:, :, None, None]
        change = change[:, :, None, None]
        grey = GREY[0] * image[:, :1] + GREY[1] * image[:, 1:2] + GREY[2] * image[:, 2:]
        mean = grey.mean(dim=(2, 3), keepdim=True)
        other = torch.where(change == SATURATION, grey, torch.where(change == CONTRAST, mean, torch.zeros_like(mean)))
        image = torch.lerp(other, image, strength).clamp(0, 255)
    return image
