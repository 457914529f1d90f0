"""Crop, flip, colours and normalisation with draws of their own for every sample, by index gathers (graph-safe)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from tailwise.augment.auto_augment import auto_augment
from tailwise.augment.color_jitter import color_jitter
from tailwise.augment.crop_resize import crop_resize


class Pixel(nn.Module):
    """uint8 images to normalised float images, augmented when draws are given.

    The padding is black in pixel space, as torchvision's ``RandomCrop(padding=...)`` before ``Normalize`` gives it.

    Args:
        padding: Pixels added on every side before the crop; offsets run from 0 to ``2 * padding``.
        mean: Per channel, in [0, 1].
        std: Per channel, in [0, 1].
    """

    def __init__(self, padding: int, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.padding = padding
        self.register_buffer("shift", torch.tensor(mean).mul(255).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(std).mul(255).reciprocal().view(1, -1, 1, 1), persistent=False)

    def forward(self, image: Tensor, crop: Tensor | None = None, flip: Tensor | None = None) -> Tensor:
        """Float ``[B,3,H,W]`` from uint8 ``[B,3,H,W]``, crop int64 ``[B,2]`` (top, left) and flip bool ``[B]``."""
        if crop is not None and flip is not None:
            image = self.crop_and_flip(image, crop, flip)
        shift, scale = self.get_buffer("shift"), self.get_buffer("scale")
        return (image.to(shift.dtype) - shift) * scale

    def augment(self, stream: Mapping[str, Tensor], generate: nn.Module | None = None) -> Tensor:
        """Normalised float images ``[B,3,H,W]`` of one stream of a training batch, augmented by the plan's draws.

        Args:
            stream: Either ``image``, ``crop`` and ``flip`` as :meth:`forward` takes them, or what
                :func:`~tailwise.augment.crop_resize.crop_resize` takes: packed pixels ``flat`` with ``offset``,
                ``width``, ``box``, ``flip`` and ``grid``, and ``jitter`` and ``jitter_order`` when colours change too.
                In both cases ``auto_operation`` and ``auto_magnitude`` when AutoAugment follows.
            generate: Puts generated images in the place of some; see :class:`tailwise.augment.base.BoundGenerate`.
        """
        if "flat" not in stream:
            image = stream["image"] if generate is None else generate(stream)
            return self(self._auto_augment(self.crop_and_flip(image, stream["crop"], stream["flip"]), stream))
        names = ("flat", "offset", "width", "box", "flip", "grid")
        image = crop_resize(*(stream[name] for name in names)) if generate is None else generate(stream)
        if "jitter" in stream:
            image = color_jitter(image, stream["jitter"], stream["jitter_order"])
        return self(self._auto_augment(image, stream))

    def _auto_augment(self, image: Tensor, stream: Mapping[str, Tensor]) -> Tensor:
        """The images after the operations that were drawn for them; crops of packed images are rounded before."""
        if "auto_operation" not in stream:
            return image
        whole = image if image.dtype == torch.uint8 else image.round().clamp(0, 255).to(torch.uint8)
        return auto_augment(whole, stream["auto_operation"], stream["auto_magnitude"])

    def crop_and_flip(self, image: Tensor, crop: Tensor, flip: Tensor) -> Tensor:
        """The augmented uint8 images, same shape and in channels-last memory."""
        height, width = image.shape[-2:]
        rows = crop[:, :1] + torch.arange(height, device=image.device)
        straight = torch.arange(width, device=image.device)
        columns = crop[:, 1:] + torch.where(flip[:, None], straight.flip(0), straight)
        padded = functional.pad(image, [self.padding] * 4) if self.padding else image
        sample = torch.arange(image.shape[0], device=image.device)[:, None, None]
        return padded.permute(0, 2, 3, 1)[sample, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
