"""Per-image random transforms of the host path, on torchvision v2, seeded by the plan for each image."""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2


class ItemTransform:
    """RandomResizedCrop (scale .08 to 1, ratio 3/4 to 4/3) and colour jitter; the flip is the plan's.

    Args:
        size: Height and width of the result.
        color_jitter: Range of brightness, contrast and saturation; 0 for none.
    """

    def __init__(self, size: int, color_jitter: float = 0.0) -> None:
        steps: list[torch.nn.Module] = [v2.RandomResizedCrop(size, antialias=True)]
        if color_jitter:
            steps.append(v2.ColorJitter(color_jitter, color_jitter, color_jitter))
        self.transform = v2.Compose([*steps, v2.PILToTensor()])

    def __call__(self, image: Image.Image, seed: int) -> Tensor:
        """uint8 ``[3,size,size]``; depends only on the image and the seed, not on which worker runs it."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.transform(image)
