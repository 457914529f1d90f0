"""Per-image random transforms of the host path: RandomResizedCrop (szegedy2015going) and colour jitter, by seed."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from tailwise.augment.color_jitter import BRIGHTNESS, CONTRAST, GREY, draw_jitter
from tailwise.augment.crop_resize import ATTEMPTS, RATIO, SCALE
from tailwise.data.rgb import Box


class Opened(Protocol):
    """An image of known size whose pixels are decoded when they are asked for."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        ...

    def cut(self, box: Box, at_least: int) -> NDArray[np.uint8]:
        """A part of it as RGB ``[h,w,3]``; it may be decoded smaller when both sides keep ``at_least`` pixels."""
        ...


class ItemTransform:
    """RandomResizedCrop (scale .08 to 1, ratio 3/4 to 4/3) and colour jitter; the flip is the plan's.

    The box is drawn before the image is decoded. A JPEG is decoded at a half, quarter or eighth of its size (a part of
    the file's own cosine transform) if the box then still has at least as many pixels as the result in both
    directions; the corners of the box are rounded to whole pixels of the smaller image. Every other image is decoded
    in full. The box is cut out and then scaled by antialiased bilinear interpolation, as torchvision does it.

    Args:
        size: Height and width of the result.
        color_jitter: Range of brightness, contrast and saturation, in random order; 0 for none. Deviation from
            torchvision's ``ColorJitter`` on 8-bit images: the result is rounded once, not after each change.
    """

    def __init__(self, size: int, color_jitter: float = 0.0) -> None:
        self.size, self.color_jitter = size, color_jitter

    def __call__(self, image: Opened, seed: int) -> Tensor:
        """uint8 ``[3,size,size]``; depends only on the image and the seed, not on which worker runs it.

        Raises:
            UnreadableImage: The image cannot be decoded.
        """
        # numpy's generator, because seeding torch's global one for every image costs a tenth of its decoding.
        generator = np.random.default_rng(seed)
        pixels = image.cut(draw_box(*image.size, generator), self.size)
        # In this memory format pixels are scaled where they lie, red next to green next to blue.
        batch = torch.from_numpy(pixels).permute(2, 0, 1)[None].contiguous(memory_format=torch.channels_last)
        scaled = functional.interpolate(batch, size=(self.size, self.size), mode="bilinear", antialias=True)[0]
        if self.color_jitter:
            factor, order = draw_jitter((), self.color_jitter, generator, generator)
            return torch.from_numpy(jitter(scaled.contiguous().numpy(), factor, order))
        return scaled


def draw_box(width: int, height: int, generator: np.random.Generator) -> Box:
    """Top, left, height and width of a box, by the rule of :func:`tailwise.augment.crop_resize.draw_boxes`.

    That function draws for a whole batch; for one image plain numbers are twenty times faster.
    """
    trials, (vertical, horizontal) = generator.random((ATTEMPTS, 2)).tolist(), generator.random(2).tolist()
    low, high = math.log(RATIO[0]), math.log(RATIO[1])
    for share, skew in trials:
        area = width * height * (SCALE[0] + (SCALE[1] - SCALE[0]) * share)
        ratio = math.exp(low + (high - low) * skew)
        wide, tall = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < wide <= width and 0 < tall <= height:
            return int(vertical * (height - tall + 1)), int(horizontal * (width - wide + 1)), tall, wide
    wide, tall = min(width, round(height * RATIO[1])), min(height, round(width / RATIO[0]))
    return (height - tall) // 2, (width - wide) // 2, tall, wide


def jitter(image: NDArray[np.uint8], factor: NDArray[np.float32], order: NDArray[np.int64]) -> NDArray[np.uint8]:
    """One image ``[3,H,W]`` with what :func:`tailwise.augment.color_jitter.color_jitter` does to a batch.

    numpy sums in one order however many threads there are, so the mean does not depend on the process.
    """
    pixels = image.astype(np.float32)
    for change in order.tolist():
        strength = float(factor[change])
        if change == BRIGHTNESS:
            other = 0.0
        elif change == CONTRAST:
            other = float(np.dot(GREY, pixels.mean(axis=(1, 2))))
        else:
            other = GREY[0] * pixels[0] + GREY[1] * pixels[1] + GREY[2] * pixels[2]
        pixels *= strength
        pixels += (1 - strength) * other
        if strength > 1:  # otherwise the result lies between two numbers of the range
            np.clip(pixels, 0, 255, out=pixels)
    return np.rint(pixels, out=pixels).astype(np.uint8)
