"""Softmax cross-entropy, the baseline of every table, with optional label smoothing (szegedy2016rethinking, Sec. 7)."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from tailwise.core.registry import register
from tailwise.core.spec import frozen
from tailwise.losses.base import Loss


@register("cross_entropy", paper="szegedy2016rethinking")
@frozen
class CrossEntropy(Loss):
    r"""Softmax cross-entropy, which takes no account of the class counts.

    The loss is :math:`-\sum_c t_c \log p_c`. The target distribution is :math:`t_c = (1 - \epsilon) [c = y] + \epsilon
    / C`.

    Args:
        smoothing: :math:`\epsilon`, in [0, 1); 0 is the ordinary cross-entropy.

    Raises:
        ValueError: ``smoothing`` is out of range.
    """

    #: It is what the others reduce to.
    reduces_to: ClassVar[str | None] = None

    smoothing: float = 0.0

    def __post_init__(self) -> None:
        """Checks the range."""
        if not 0.0 <= self.smoothing < 1.0:
            raise ValueError(f"smoothing must be at least 0 and below 1, got {self.smoothing}")

    def per_sample(self, logits: Tensor, target: Tensor) -> Tensor:
        """The loss of every sample: ``[B, C]``, ``[B]`` -> ``[B]``."""
        return F.cross_entropy(logits, target, reduction="none", label_smoothing=self.smoothing)
