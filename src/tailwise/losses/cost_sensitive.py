"""Cost-sensitive cross-entropy: weights by inverse class frequency (zhang2021bag, Eq. 2)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from tailwise.core.checks import at_least, finite
from tailwise.core.registry import register
from tailwise.core.spec import frozen
from tailwise.losses.class_weights import inverse_frequency
from tailwise.losses.reweighted import Reweighted


@register("cost_sensitive", paper="zhang2021bag", presets={"cost_sensitive_square_root": {"gamma": 0.5}})
@frozen
class CostSensitive(Reweighted):
    r"""Cross-entropy weighted by inverse class frequency.

    The loss is :math:`(n_{min} / n_y)^\gamma (-\log p_y)` (Eq. 2). The equation is printed for :math:`\gamma = 1`; the
    preset with :math:`\gamma = 1/2` is a variant of the authors' code. Their code has the same weights but divides by
    the sum of the weights of the batch: bind with ``weighted_mean`` for what was run, and with ``mean`` for the
    equation as printed. On CIFAR-10-LT with imbalance factor 100, where the mean weight of an image is 0.04, the
    printed form is about 25 times smaller.

    Args:
        gamma: :math:`\gamma`, a finite number of at least 0; 0 gives cross-entropy.

    Raises:
        ValueError: ``gamma`` is out of range.
    """

    gamma: float = 1.0

    def __post_init__(self) -> None:
        """Checks the range."""
        at_least("gamma", self.gamma, 0)
        finite("gamma", self.gamma)

    def class_weight(self, counts: Tensor) -> Tensor:
        """The weights, at most 1, shape ``[C]``."""
        return inverse_frequency(counts, self.gamma)

    def unweighted(self, logits: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy: ``[B, C]``, ``[B]`` -> ``[B]``."""
        return F.cross_entropy(logits, target, reduction="none")
