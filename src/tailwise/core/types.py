"""Shapes and small types shared by the training step.

Legend: B batch, C classes, D feature width, h w map size, N training images, S steps of an epoch, K heads or branches.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

#: ``{stream: {"image": uint8 [B,3,H,W], "label": int64 [B], "crop": int64 [B,2], "flip": bool [B]}}``. Draws of a mix
#: stand under the key ``"mix"``, those of a view under the view's own name. A stream from an image pack has, in place
#: of the image, the flat pixels and what says where each image and its box lie (:mod:`tailwise.augment.crop_resize`).
Batch = dict[str, dict[str, Tensor]]

#: Sums a tensor over all processes; the identity when there is one.
ReduceSum = Callable[[Tensor], Tensor]


class MixedTarget(NamedTuple):
    """Two labels per image and the share of the first: the loss is ``lam L(first) + (1 - lam) L(second)``.

    Attributes:
        first: int64 ``[B]``.
        second: int64 ``[B]``.
        lam: float ``[B]`` in [0, 1].
    """

    first: Tensor
    second: Tensor
    lam: Tensor


#: What a head is trained towards: labels int64 ``[B]``, or a mixture of two.
Target = Tensor | MixedTarget


class Part(NamedTuple):
    """One additive part of the objective as a fraction, so that several processes can share the denominator.

    Attributes:
        numerator: Scalar sum over this process's samples.
        denominator: Scalar; what the numerator is divided by after both are summed over processes.
        weight: Factor of this part in the total.
    """

    numerator: Tensor
    denominator: Tensor
    weight: float
