"""Cost-sensitive focal loss: the second stage of focal loss with deferred re-weighting (zhang2021bag, Table 8)."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from tailwise.core.checks import at_least, finite
from tailwise.core.registry import register
from tailwise.core.spec import frozen
from tailwise.losses.class_weights import inverse_frequency
from tailwise.losses.focal import check_focal, sigmoid_focal
from tailwise.losses.reweighted import Reweighted


@register("cost_sensitive_focal", paper="zhang2021bag")
@frozen
class CostSensitiveFocal(Reweighted):
    r"""Sigmoid focal loss weighted by inverse class frequency.

    The loss is :math:`(n_{min} / n_y)^\delta` times the focal loss. The paper prints no equation for it: the authors'
    code multiplies the focal loss by :math:`n_{min} / n_y` once deferred re-weighting begins, and divides by the batch
    size (reduction ``mean``).

    Args:
        gamma: The focal loss's :math:`\gamma`, a finite number of at least 0.
        alpha: As in :class:`~tailwise.losses.focal.Focal`.
        exponent: :math:`\delta`, a finite number of at least 0; 0 gives the focal loss.

    Raises:
        ValueError: A value is out of range.
    """

    #: Sigmoids see the logits themselves.
    shift_invariant: ClassVar[bool] = False
    #: All weights are 1 when the counts are equal.
    reduces_to: ClassVar[str | None] = "focal"

    gamma: float = 2.0
    alpha: float | None = None
    exponent: float = 1.0

    def __post_init__(self) -> None:
        """Checks the ranges."""
        check_focal(self.gamma, self.alpha)
        at_least("exponent", self.exponent, 0)
        finite("exponent", self.exponent)

    def class_weight(self, counts: Tensor) -> Tensor:
        """The weights, at most 1, shape ``[C]``."""
        return inverse_frequency(counts, self.exponent)

    def unweighted(self, logits: Tensor, target: Tensor) -> Tensor:
        """The focal loss: ``[B, C]``, ``[B]`` -> ``[B]``."""
        return sigmoid_focal(logits, target, self.gamma, self.alpha)
