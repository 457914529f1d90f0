"""Moving the foreground of some images of a batch, on the device, before crop and flip (zhang2021bag, Fig. 1)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from tailwise.augment.base import BoundGenerate
from tailwise.augment.cam_mask import bounding_box, foreground
from tailwise.augment.cam_warp import Images, look_up, origins, sample
from tailwise.augment.crop_resize import crop_resize


class CamCompose(BoundGenerate):
    """Applies the transforms of a plan; see :class:`tailwise.augment.cam_transform.CamTransform`.

    With M the mask of the foreground and T the transform, the image shows at p what it has at T⁻¹(p) if that is inside
    the image and M(p) or M(T⁻¹(p)) holds. Otherwise it shows what it has at p. Only indexing and static shapes: safe
    inside a CUDA graph.

    Args:
        masked: Whether the foreground comes from the maps; off: the whole image.
        threshold: Factor of the map's mean.
        official: Repeat the details of the authors' code.
    """

    def __init__(self, *, masked: bool, threshold: float, official: bool) -> None:
        super().__init__()
        self.masked, self.threshold, self.official = masked, threshold, official

    def forward(self, stream: Mapping[str, Tensor]) -> Tensor:
        """Images of a stream.

        Args:
            stream: ``index``, ``transform`` and ``amount`` of the plan, with ``image``, uint8 or floating-point from 0
                to 255, ``[B,3,S,S]``; or what :func:`~tailwise.augment.crop_resize.crop_resize` takes, and the
                ``height`` of the packed images.

        Returns:
            As ``image``, or the crops of packed images, float32 ``[B,3,S,S]``.
        """
        if "flat" in stream:
            image, images, x, y = _crops(stream)
        else:
            image, images, x, y = _squares(stream["image"])
        return self._composed(stream, image, images, x, y)

    def mask(self, index: Tensor, size: int) -> Tensor:
        """The foreground of training images, bool ``[B,size,size]`` over the whole image."""
        if not self.masked:
            return torch.ones((len(index), size, size), dtype=torch.bool, device=index.device)
        if self.maps is None:
            raise RuntimeError("class activation maps are needed before the first step")
        return foreground(self.maps[index], size, self.threshold, official=self.official)

    def _composed(self, stream: Mapping[str, Tensor], image: Tensor, images: Images, x: Tensor, y: Tensor) -> Tensor:
        cells = image.shape[-1]
        mask = self.mask(stream["index"], cells)
        size = torch.stack([images.height, images.width], 1).to(x.dtype)
        box = self._box(mask, size)
        transform = stream["transform"]
        from_x, from_y = origins(x, y, transform, stream["amount"], box, size, official=self.official)
        here, _ = look_up(mask, x, y, size)
        moved, inside = look_up(mask, from_x, from_y, size)
        shown = (here | moved) & (transform > 0)[:, None, None]
        pixels = sample(images, from_x, from_y, black_outside=self.official).permute(0, 3, 1, 2)
        whole = pixels.round()
        pixels = pixels if image.is_floating_point() else whole
        content = whole != 0 if self.official else inside[:, None]
        return torch.where(shown[:, None] & content, pixels.to(image.dtype), image)

    def _box(self, mask: Tensor, size: Tensor) -> Tensor:
        """Top, left, bottom and right of the foreground in pixels ``[B,4]``, from the cells of the mask."""
        if not self.masked:
            return torch.cat([size / 4, size * 3 / 4 - 1], 1).floor()
        cells = bounding_box(mask, official=self.official).to(size.dtype)
        return (cells + 0.5) * size.repeat(1, 2) / mask.shape[1] - 0.5


def _squares(image: Tensor) -> tuple[Tensor, Images, Tensor, Tensor]:
    """Images ``[B,3,H,W]``, the same as flat pixels, and the place of every pixel."""
    count, _, height, width = image.shape
    flat = image.permute(0, 2, 3, 1).reshape(-1, 3)
    number = torch.arange(count, device=image.device)
    images = Images(flat, number * (height * width), torch.full_like(number, height), torch.full_like(number, width))
    row = torch.arange(height, device=image.device, dtype=torch.float32)
    column = torch.arange(width, device=image.device, dtype=torch.float32)
    shape = (count, height, width)
    return image, images, column.expand(shape), row[:, None].expand(shape)


def _crops(stream: Mapping[str, Tensor]) -> tuple[Tensor, Images, Tensor, Tensor]:
    """Crops of packed images, the images, and where in them the pixels of the crops lie."""
    names = ("flat", "offset", "width", "box", "flip", "grid")
    image = crop_resize(*(stream[name] for name in names))
    images = Images(stream["flat"], stream["offset"], stream["height"], stream["width"])
    grid, box = stream["grid"], stream["box"][:, :, None]
    mirrored = torch.where(stream["flip"][:, None], grid.flip(0), grid)
    row = box[:, 0] + torch.minimum((grid * box[:, 2] - 0.5).clamp(min=0), box[:, 2] - 1)
    column = box[:, 1] + torch.minimum((mirrored * box[:, 3] - 0.5).clamp(min=0), box[:, 3] - 1)
    shape = image[:, 0].shape
    return image, images, column[:, None, :].expand(shape), row[:, :, None].expand(shape)
