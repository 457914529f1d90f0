"""Influence-balanced loss: samples that move the classifier most weigh least (park2021influence)."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from tailwise.core.checks import positive
from tailwise.core.registry import register
from tailwise.core.spec import frozen
from tailwise.losses.base import Loss
from tailwise.losses.class_weights import inverse_frequency, sum_to_classes


@register("influence_balanced", paper="park2021influence")
@frozen
class InfluenceBalanced(Loss):
    r"""Cross-entropy divided by each sample's influence on the classifier.

    The loss is :math:`w_y \frac{\alpha}{I + \epsilon} (-\log p_y)`. The influence :math:`I = \lVert p - e_y \rVert_1
    \lVert h \rVert_1` is the 1-norm of the gradient of the cross-entropy with respect to the classifier's weight, with
    :math:`h` the pooled features that enter the classifier. The first factor equals :math:`2 (1 - p_y)`. The class
    weights :math:`w_c` are proportional to :math:`1 / n_c` and sum to :math:`C`. As in the authors' code, the gradient
    flows through the influence too; :math:`\epsilon`, which keeps the fraction finite, comes from there as well.

    The loss is for the second part of a training that begins with cross-entropy: on CIFAR, after 100 of 200 epochs with
    :math:`\alpha = 1000`. A boundary between stages says when. The authors divide by the batch size (reduction
    ``mean``).

    Args:
        alpha: :math:`\alpha`, above 0.
        epsilon: :math:`\epsilon`, above 0.

    Raises:
        ValueError: A value is out of range.
    """

    #: The influence depends on the features.
    needs_features: ClassVar[bool] = True
    #: The influence stays when all counts are equal.
    reduces_to: ClassVar[str | None] = None

    alpha: float = 1000.0
    epsilon: float = 1e-3

    def __post_init__(self) -> None:
        """Checks both ranges."""
        positive("alpha", self.alpha)
        positive("epsilon", self.epsilon)

    def class_terms(self, counts: Tensor) -> dict[str, Tensor]:
        """``weight``, shape ``[C]``."""
        return {"weight": sum_to_classes(inverse_frequency(counts))}

    def per_sample(self, logits: Tensor, target: Tensor, *, features: Tensor, weight: Tensor) -> Tensor:
        """The loss of every sample: ``[B, C]``, ``[B]`` and features ``[B, D]`` -> ``[B]``."""
        losses = F.cross_entropy(logits, target, reduction="none")
        influence = -2.0 * (-losses).expm1() * features.abs().sum(1)
        return weight[target] * self.alpha / (influence + self.epsilon) * losses

    def sample_weight(self, target: Tensor, *, weight: Tensor) -> Tensor:
        """The weight of every sample's class, shape ``[B]``."""
        return weight[target]
