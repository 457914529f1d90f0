"""Class-balanced cross-entropy: weights by the effective number of images (cui2019class; zhang2021bag, Eq. 6)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from tailwise.core.checks import from_and_below
from tailwise.core.registry import register
from tailwise.core.spec import frozen
from tailwise.losses.class_weights import effective_number, sum_to_classes
from tailwise.losses.reweighted import Reweighted


@register("class_balanced", paper="cui2019class", presets={"class_balanced_unnormalized": {"normalize": False}})
@frozen
class ClassBalanced(Reweighted):
    r"""Cross-entropy weighted by the inverse effective number of images of the label's class.

    The loss is :math:`\frac{1-\beta}{1-\beta^{n_y}} (-\log p_y)`. Three forms of it are in use. Zhang et al. print the
    weights as they are (Eq. 6): ``normalize=False`` with the reduction ``mean``. Cui et al. scale them to sum to
    :math:`C` and divide by the batch size: ``normalize=True`` with ``mean``. The code of Zhang et al. and of LDAM
    scales them and divides by the sum of the weights of the batch: ``weighted_mean``, for which ``normalize`` makes no
    difference.

    Args:
        beta: :math:`\beta`, in [0, 1); 0 gives cross-entropy, and near 1 the weights are inverse frequencies.
        normalize: Whether the weights are scaled to sum to the number of classes.

    Raises:
        ValueError: ``beta`` is out of range.
    """

    beta: float = 0.9999
    normalize: bool = True

    def __post_init__(self) -> None:
        """Checks the range."""
        from_and_below("beta", self.beta, 0, 1)

    def class_weight(self, counts: Tensor) -> Tensor:
        """The weights, shape ``[C]``."""
        weight = effective_number(counts, self.beta)
        return sum_to_classes(weight) if self.normalize else weight

    def unweighted(self, logits: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy: ``[B, C]``, ``[B]`` -> ``[B]``."""
        return F.cross_entropy(logits, target, reduction="none")
