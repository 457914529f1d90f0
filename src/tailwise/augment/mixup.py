"""Input mixup: convex combinations of two images and of their labels (zhang2018mixup, Eq. 1)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from tailwise.augment.base import Draws, Mix
from tailwise.augment.pairing import Per, as_shares, blend, check_per, draw_pairs, partners
from tailwise.core.checks import positive
from tailwise.core.registry import register
from tailwise.core.spec import frozen
from tailwise.core.types import MixedTarget


@register("mixup", paper="zhang2018mixup", presets={"mixup_per_sample": {"per": "sample"}})
@frozen
class Mixup(Mix):
    r"""Input mixup: pairs of images are mixed, and their labels in the same proportion.

    An image becomes :math:`\lambda x_i + (1 - \lambda) x_j` with :math:`\lambda \sim \mathrm{Beta}(\alpha, \alpha)`,
    and its loss is :math:`\lambda L(y_i) + (1 - \lambda) L(y_j)`. The pairs are a random permutation of the batch; an
    image may meet itself or one of its own class. With several processes each pairs the images of its own share.

    Args:
        alpha: :math:`\alpha`, above 0.
        per: One :math:`\lambda` for a ``batch``, as in the code of zhang2018mixup and zhang2021bag, or one for every
            ``sample``, as the printed equation can be read.

    Raises:
        ValueError: ``alpha`` is not positive or ``per`` is neither.
    """

    alpha: float = 1.0
    per: Per = "batch"

    def __post_init__(self) -> None:
        """Checks both values."""
        positive("alpha", self.alpha)
        check_per(self.per)

    def draw(self, rng: np.random.Generator, steps: int, batch: int) -> Draws:
        """``order`` and ``lam``; see :func:`tailwise.augment.pairing.draw_pairs`."""
        return draw_pairs(rng, steps, batch, self.alpha, self.per)

    def __call__(self, image: Tensor, label: Tensor, row: Mapping[str, Tensor]) -> tuple[Tensor, MixedTarget]:
        """Mixed images ``[B,3,H,W]``, and both labels with the share of the first."""
        partner = partners(row["order"])
        lam = as_shares(row["lam"], image)
        return blend(image, partner, lam), MixedTarget(label, label[partner], lam)
