"""Foreground masks from class activation maps, and their bounding boxes (zhang2021bag, Fig. 1)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def foreground(maps: Tensor, size: int, threshold: float, *, official: bool = False) -> Tensor:
    """Where a map exceeds a multiple of its mean.

    Args:
        maps: In [0, 1], ``[B,h,w]``.
        size: Rows and columns of the mask; the map is brought there by bilinear interpolation.
        threshold: Factor of the mean over these rows and columns.
        official: Maps of 8 bits before and after the interpolation, and at least the threshold in place of above it.

    Returns:
        bool ``[B,size,size]``; no foreground in a map of zeros.
    """
    level = maps.float()
    level = (level * 255).floor() if official else level
    level = functional.interpolate(level[:, None], (size, size), mode="bilinear", align_corners=False)[:, 0]
    level = level.round() if official else level
    mean = level.mean((1, 2), keepdim=True)
    return (level >= threshold * mean) & (mean > 0) if official else level > threshold * mean


def bounding_box(mask: Tensor, *, official: bool = False) -> Tensor:
    """First and last row and column with foreground.

    Args:
        mask: bool ``[B,S,S]``.
        official: The last is the one after the first: the code's search stops too early.

    Returns:
        int64 ``[B,4]``: top, left, bottom and right, both inside; all zero without foreground.
    """
    (top, bottom), (left, right) = (_ends(mask.any(axis), official) for axis in (2, 1))
    return torch.stack([top, left, bottom, right], 1)


def _ends(found: Tensor, official: bool) -> tuple[Tensor, Tensor]:
    """First and last place ``[B]`` that is true in ``[B,S]``."""
    size, places = found.shape[1], torch.arange(found.shape[1], device=found.device)
    first = torch.where(found, places, size).amin(1)
    last = torch.where(found, places, -1).amax(1)
    if official:
        second = torch.where(found & (places > first[:, None]), places, size).amin(1)
        last = torch.minimum(second, last)
    empty = last < 0
    return torch.where(empty, 0, first), torch.where(empty, 0, last)
