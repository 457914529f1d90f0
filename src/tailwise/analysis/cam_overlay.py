"""A class activation map laid over its image."""

from __future__ import annotations

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image

#: How much of an overlay is the map.
STRENGTH = 0.55


def cam_overlay(image: NDArray[np.uint8], level: NDArray[np.floating], side: int | None = None) -> NDArray[np.uint8]:
    """The image in grey, and over it the map from dark blue (0) to yellow (1), readable without seeing colours.

    Args:
        image: uint8 ``[H,W,3]``.
        level: The map in [0, 1], ``[h,w]``; brought to the image's size by bilinear interpolation.
        side: Pixels of the shorter side of what is returned; none: those of the image. Small images need more, since
            the map has no pixels of its own.

    Returns:
        uint8 ``[H',W',3]``.
    """
    height, width = image.shape[:2]
    factor = 1.0 if side is None else side / min(height, width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    grey = Image.fromarray(image).convert("L").resize(size, Image.Resampling.BILINEAR)
    smooth = Image.fromarray(np.asarray(level, dtype=np.float32)).resize(size, Image.Resampling.BILINEAR)
    colours = matplotlib.colormaps["viridis"](np.clip(np.asarray(smooth), 0.0, 1.0))[..., :3]
    mixed = STRENGTH * 255 * colours + (1 - STRENGTH) * np.asarray(grey, dtype=np.float64)[..., None]
    return np.rint(mixed).astype(np.uint8)
