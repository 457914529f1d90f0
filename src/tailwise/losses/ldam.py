"""LDAM: a margin for every class that grows as the class shrinks (cao2019ldam, Sec. 3.2)."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from tailwise.core.checks import at_least, finite, from_and_below, positive
from tailwise.core.registry import register
from tailwise.core.spec import frozen
from tailwise.losses.base import Loss
from tailwise.losses.class_weights import effective_number, sum_to_classes


@register("ldam", paper="cao2019ldam", presets={"ldam_reweighted": {"beta": 0.9999}})
@frozen
class LDAM(Loss):
    r"""Cross-entropy with label-distribution-aware margins, for a cosine classifier.

    The loss is :math:`-\log \frac{e^{s (z_y - m_y)}}{e^{s (z_y - m_y)} + \sum_{c \neq y} e^{s z_c}}`: the label's logit
    is lowered by :math:`m_y = m_{max} (n_{min} / n_y)^{1/4}`, then all logits are multiplied by :math:`s`. This is the
    paper's loss in its softmax form; its margins are :math:`C / n_c^{1/4}`, here with the constant that gives the
    smallest class :math:`m_{max}`. The scale is not in the equations; it comes from the authors' code.

    The logits are cosines, and only one of head and loss may scale them. As in the authors' code: ``Cosine(scale=1)``
    with ``LDAM(scale=30, max_margin=0.5)``; the network's outputs then are cosines, and probabilities computed from
    them are nearly flat. The same loss and gradients with the scale in the head: ``Cosine(scale=30)`` with
    ``LDAM(scale=1, max_margin=15)``; the outputs then are the logits that were trained, which measures of calibration
    need. ``max_margin`` is in units of the logits that the head gives.

    ``beta`` above 0 weights each sample by the inverse effective number of its class, scaled to sum to :math:`C`, as
    the second stage of LDAM-DRW does with 0.9999. The authors' code divides by the sum of the weights of the batch:
    bind with ``weighted_mean``.

    Args:
        max_margin: :math:`m_{max}`, the margin of the smallest class, a finite number of at least 0.
        scale: :math:`s`, above 0.
        beta: In [0, 1); 0 gives no weights.

    Raises:
        ValueError: A value is out of range.
    """

    #: The margins stay when all counts are equal.
    reduces_to: ClassVar[str | None] = None

    max_margin: float = 0.5
    scale: float = 30.0
    beta: float = 0.0

    def __post_init__(self) -> None:
        """Checks the ranges."""
        at_least("max_margin", self.max_margin, 0)
        finite("max_margin", self.max_margin)
        positive("scale", self.scale)
        from_and_below("beta", self.beta, 0, 1)

    def class_terms(self, counts: Tensor) -> dict[str, Tensor]:
        """``margin`` and ``weight``, shape ``[C]`` each."""
        margin = self.max_margin * (counts.min() / counts) ** 0.25
        return {"margin": margin, "weight": sum_to_classes(effective_number(counts, self.beta))}

    def per_sample(self, logits: Tensor, target: Tensor, *, margin: Tensor, weight: Tensor) -> Tensor:
        """The loss of every sample: ``[B, C]``, ``[B]`` -> ``[B]``."""
        lowered = logits - margin * F.one_hot(target, logits.shape[1])
        return weight[target] * F.cross_entropy(self.scale * lowered, target, reduction="none")

    def sample_weight(self, target: Tensor, *, margin: Tensor, weight: Tensor) -> Tensor:
        """The weight of every sample's class, shape ``[B]``."""
        return weight[target]
