"""CutMix: a box of one image is replaced by that of another, labels by area (yun2019cutmix, Eq. 1 and 2)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from tailwise.augment.base import Draws, Mix
from tailwise.augment.pairing import Per, as_shares, check_per, draw_pairs, partners
from tailwise.core.checks import positive, within
from tailwise.core.registry import register
from tailwise.core.spec import frozen
from tailwise.core.types import MixedTarget


@register("cutmix", paper="yun2019cutmix")
@frozen
class CutMix(Mix):
    r"""CutMix: a box of each image is replaced by that of another one, and labels are mixed by area.

    The box has :math:`\sqrt{1 - \lambda}` of the image's height and width, with :math:`\lambda \sim
    \mathrm{Beta}(\alpha, \alpha)`, before it is cut at the border. Its centre is a uniform pixel. As in the paper's
    code, lengths are rounded down to even numbers, and the share of the first label is the area that is really left of
    the first image.

    Args:
        alpha: Both parameters of the Beta distribution of :math:`\lambda`, above 0.
        probability: Of mixing at all, in [0, 1]; the paper's code has 0.5 for CIFAR and 1 for ImageNet.
        per: One box for a ``batch``, as in the paper's code, or one for every ``sample``.

    Raises:
        ValueError: A value outside its range.
    """

    alpha: float = 1.0
    probability: float = 1.0
    per: Per = "batch"

    def __post_init__(self) -> None:
        """Checks all values."""
        positive("alpha", self.alpha)
        within("probability", self.probability, 0, 1)
        check_per(self.per)

    def draw(self, rng: np.random.Generator, steps: int, batch: int) -> Draws:
        """``order`` and ``lam`` (1 where nothing is mixed), and the centre ``x``, ``y`` as parts of width and height.

        The centre is float32 in [0, 1), of the same shape as ``lam``.
        """
        draws = draw_pairs(rng, steps, batch, self.alpha, self.per)
        shape = draws["lam"].shape
        draws["lam"] = np.where(rng.random(shape) < self.probability, draws["lam"], np.float32(1))
        return {**draws, "x": rng.random(shape, dtype=np.float32), "y": rng.random(shape, dtype=np.float32)}

    def __call__(self, image: Tensor, label: Tensor, row: Mapping[str, Tensor]) -> tuple[Tensor, MixedTarget]:
        """Images ``[B,3,H,W]`` with a box of their partner, and both labels with the area of the first."""
        height, width = image.shape[-2:]
        partner = partners(row["order"])
        side = (1 - as_shares(row["lam"], image)).sqrt()
        rows = _inside(as_shares(row["y"], image), side, height)
        columns = _inside(as_shares(row["x"], image), side, width)
        box = rows[:, None, :, None] & columns[:, None, None, :]
        share = 1 - rows.sum(1) * columns.sum(1) / (height * width)
        return torch.where(box, image[partner], image), MixedTarget(label, label[partner], share)


def _inside(centre: Tensor, side: Tensor, length: int) -> Tensor:
    """Which coordinates lie in the box, bool ``[B, length]``; centre and side ``[B]`` are parts of the length."""
    half = (side * length).floor().div(2).floor()[:, None]
    middle = (centre * length).floor().clamp_max(length - 1)[:, None]
    at = torch.arange(length, device=centre.device)
    return (at >= middle - half) & (at < middle + half)
