"""Class activation maps: which places of an image speak for a class (zhou2016learning, Eq. 2)."""

from __future__ import annotations

import torch
from torch import Tensor

from tailwise.core.errors import TailwiseError


def class_activation_maps(maps: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
    r"""Maps of the classes of the labels, :math:`M_c(x, y) = \sum_d w_{cd} f_d(x, y)`, brought to [0, 1].

    As in the code of zhang2021bag, negative values are kept: the least value of an image becomes 0 and the largest 1.
    A map that is equal everywhere becomes 0.

    Args:
        maps: Feature maps ``[B,D,h,w]``.
        weight: The vector of every class, ``[C,D]``.
        labels: int64 ``[B]``.

    Returns:
        ``[B,h,w]`` in float32, or float64 when ``maps`` or ``weight`` are.

    Raises:
        TailwiseError: The features are no maps, or the classifier has another width.
    """
    check_maps(maps, weight)
    kind = torch.promote_types(torch.promote_types(maps.dtype, weight.dtype), torch.float32)
    # Not a matrix product: autocast would round it.
    found = (maps.to(kind) * weight.to(kind)[labels][:, :, None, None]).sum(1)
    found = found - found.amin((1, 2), keepdim=True)
    largest = found.amax((1, 2), keepdim=True)
    return found / torch.where(largest > 0, largest, 1)


def check_maps(maps: Tensor, weight: Tensor) -> None:
    """Refuses features and a classifier from which no class activation map follows.

    Args:
        maps: What a backbone gives.
        weight: ``classifier_weight`` of a head.

    Raises:
        TailwiseError: Names the shapes.
    """
    if maps.ndim != 4:
        raise TailwiseError(
            "class activation maps need a backbone with feature maps [B, D, h, w]; this one gives features of shape "
            f"{list(maps.shape)}"
        )
    if weight.ndim != 2 or weight.shape[1] != maps.shape[1]:
        raise TailwiseError(
            f"class activation maps need a classifier [C, {maps.shape[1]}] for maps of shape {list(maps.shape)}; this "
            f"head has {list(weight.shape)}"
        )
