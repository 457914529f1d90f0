"""Class-specific and class-generic positions of an image by its class activation map (chu2020feature, Eq. 2 and 3).

Legend: B images, D feature width, L = h w positions of a map, row by row.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


def specific(cam: Tensor, tau: float) -> Tensor:
    r"""Where a class activation map in [0, 1] is at least :math:`\tau_s` (Eq. 2), bool in the shape of ``cam``.

    Eq. 2 keeps the map's values there; Algorithm 1 multiplies features by the mask, as is done here, with ``>`` in the
    place of Eq. 2's :math:`\geq`.
    """
    return cam >= tau


def generic(cam: Tensor, tau: float) -> Tensor:
    r"""Where a class activation map in [0, 1] is at most :math:`\tau_g` (Eq. 3), bool in the shape of ``cam``."""
    return cam <= tau


class Choice(NamedTuple):
    """The positions of every image that vectors are drawn from.

    Attributes:
        order: int64 ``[B,L]``, positions, those to draw from first and in ascending order.
        size: int64 ``[B]``, how many of them, at least 1.
        fell_back: bool ``[B]``, where the mask had no position with a vector other than zero.
    """

    order: Tensor
    size: Tensor
    fell_back: Tensor


def choose(maps: Tensor, mask: Tensor, weight: Tensor) -> Choice:
    """Positions of a mask whose feature vectors are not all zero (Algorithm 1, line 14).

    Where there is none, the position with the largest weight is taken, of those with a vector other than zero if the
    image has one.

    Args:
        maps: Feature maps ``[B,D,h,w]``.
        mask: bool ``[B,h,w]``.
        weight: In [0, 1], how much a position belongs to the mask, ``[B,h,w]``.
    """
    filled = (maps != 0).any(1).flatten(1)
    inside = mask.flatten(1) & filled
    size = inside.sum(1)
    # Positions with a vector come before those without, whatever their weight.
    extreme = (weight.flatten(1) + 2 * filled).argmax(1, keepdim=True)
    places = torch.arange(inside.shape[1], device=inside.device)
    fell_back = size == 0
    inside = torch.where(fell_back[:, None], places == extreme, inside)
    order = (~inside).to(torch.int8).argsort(dim=1, stable=True)
    return Choice(order, size.clamp_min(1), fell_back)


def drawn_positions(choice: Choice, pick: Tensor) -> Tensor:
    """Positions drawn with repetition, int64 ``[B,L]``.

    Args:
        choice: Of ``B`` images.
        pick: Uniform in [0, 1), ``[B,L]``.
    """
    rank = (pick * choice.size[:, None]).long().minimum(choice.size[:, None] - 1)
    return choice.order.gather(1, rank)
