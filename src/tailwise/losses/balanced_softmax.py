"""Balanced softmax: cross-entropy whose softmax counts every class by its images (ren2020balanced, Eq. 4)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from tailwise.core.registry import register
from tailwise.core.spec import frozen
from tailwise.losses.base import Loss


@register("balanced_softmax", paper="ren2020balanced")
@frozen
class BalancedSoftmax(Loss):
    r"""Cross-entropy on logits shifted by the log class counts.

    The loss is :math:`-\log \frac{n_y e^{z_y}}{\sum_c n_c e^{z_c}}` (Eq. 4). The logits are shifted by :math:`\log n_c`
    in training and used as they are at test time. Shifting by the logarithm of the prior :math:`n_c / N` is the same
    loss, because a softmax ignores a common constant.
    """

    def class_terms(self, counts: Tensor) -> dict[str, Tensor]:
        """``log_n``, the natural logarithm of the counts, shape ``[C]``."""
        return {"log_n": counts.log()}

    def per_sample(self, logits: Tensor, target: Tensor, *, log_n: Tensor) -> Tensor:
        """The loss of every sample: ``[B, C]``, ``[B]`` -> ``[B]``."""
        return F.cross_entropy(logits + log_n, target, reduction="none")
