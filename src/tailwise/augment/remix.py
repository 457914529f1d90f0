"""Remix: mixup whose label goes to the rarer class when the pair is unequal enough (chou2020remix)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from tailwise.augment.base import Draws, Mix
from tailwise.augment.pairing import Per, as_shares, blend, check_per, draw_pairs, partners
from tailwise.core.checks import at_least, finite, positive, within
from tailwise.core.registry import register
from tailwise.core.spec import frozen
from tailwise.core.stats import ClassStats
from tailwise.core.types import MixedTarget


@register("remix", paper="chou2020remix", presets={"remix_official": {"labels": "batch_mean"}})
@frozen
class Remix(Mix):
    r"""Input mixup whose label goes to the rarer class of an unequal pair.

    The share of the first label is 0 where :math:`n_i / n_j \ge \kappa` and :math:`\lambda < \tau`, 1 where
    :math:`n_i / n_j \le 1 / \kappa` and :math:`1 - \lambda < \tau`, and :math:`\lambda` elsewhere. Where both hold,
    which needs :math:`\kappa = 1`, the first wins.

    Args:
        alpha: Both parameters of the Beta distribution of :math:`\lambda`, above 0.
        kappa: How many times as many images make a pair unequal, at least 1.
        tau: The image of the rarer class must have more than ``1 - tau`` of the mixture, in [0, 1].
        per: One :math:`\lambda` for a ``batch``, or one for every ``sample``.
        labels: ``sample``: every sample has its own share, as printed. ``batch_mean``: all samples have the mean of
            these shares; the code of zhang2021bag comes down to that, because it multiplies the shares with a loss
            that is already averaged. With several processes it is the mean over each one's images.

    Raises:
        ValueError: A value outside its range.
    """

    alpha: float = 1.0
    kappa: float = 3.0
    tau: float = 0.5
    per: Per = "batch"
    labels: Literal["sample", "batch_mean"] = "sample"

    def __post_init__(self) -> None:
        """Checks all values."""
        positive("alpha", self.alpha)
        at_least("kappa", self.kappa, 1)
        finite("kappa", self.kappa)
        within("tau", self.tau, 0, 1)
        check_per(self.per)
        if self.labels not in ("sample", "batch_mean"):
            raise ValueError(f"labels must be sample or batch_mean, got {self.labels!r}")

    def draw(self, rng: np.random.Generator, steps: int, batch: int) -> Draws:
        """``order`` and ``lam``; see :func:`tailwise.augment.pairing.draw_pairs`."""
        return draw_pairs(rng, steps, batch, self.alpha, self.per)

    def bind(self, stats: ClassStats) -> BoundRemix:
        """The module that knows the class counts."""
        return BoundRemix(self, stats)


class BoundRemix(nn.Module):
    """Remix for one training set.

    Args:
        mix: The hyper-parameters.
        stats: The class counts.
    """

    counts: Tensor

    def __init__(self, mix: Remix, stats: ClassStats) -> None:
        super().__init__()
        self.mix = mix
        # Whole numbers stay exact when the module is cast to another floating-point type.
        self.register_buffer("counts", torch.from_numpy(stats.counts.copy()), persistent=False)

    def forward(self, image: Tensor, label: Tensor, row: Mapping[str, Tensor]) -> tuple[Tensor, MixedTarget]:
        """Mixed images ``[B,3,H,W]``, and both labels with the share of the first."""
        mix, partner = self.mix, partners(row["order"])
        lam, other = as_shares(row["lam"], image), label[partner]
        first, second = self.counts[label].double(), self.counts[other].double()
        to_second = (first >= mix.kappa * second) & (lam < mix.tau)
        to_first = (second >= mix.kappa * first) & (1 - lam < mix.tau)
        share = torch.where(to_second, 0.0, torch.where(to_first, 1.0, lam))
        if mix.labels == "batch_mean":
            share = share.mean().expand_as(share)
        return blend(image, partner, lam), MixedTarget(label, other, share)
