"""Class-balanced focal loss: weights by the effective number of images (cui2019class; zhang2021bag, Eq. 5)."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from tailwise.core.checks import from_and_below
from tailwise.core.registry import register
from tailwise.core.spec import frozen
from tailwise.losses.class_weights import effective_number, sum_to_classes
from tailwise.losses.focal import check_focal, sigmoid_focal
from tailwise.losses.reweighted import Reweighted


@register(
    "class_balanced_focal",
    paper="cui2019class",
    presets={"class_balanced_focal_unnormalized": {"normalize": False}},
)
@frozen
class ClassBalancedFocal(Reweighted):
    r"""Sigmoid focal loss weighted by the inverse effective number of images of the label's class.

    The loss is :math:`-\frac{1-\beta}{1-\beta^{n_y}} \sum_c (1 - p^t_c)^\gamma \log p^t_c` (Zhang et al., Eq. 5), with
    :math:`p^t_c` as in :class:`~tailwise.losses.focal.Focal`. One weight, that of the label's class, applies to the
    binary losses of all classes. Both official codes scale the weights to sum to :math:`C` once and divide by the batch
    size: bind with ``mean``, unlike the class-balanced cross-entropy of Zhang et al. ``normalize=False`` is the
    equation as printed.

    Args:
        beta: :math:`\beta`, in [0, 1); 0 gives the focal loss.
        gamma: :math:`\gamma`, a finite number of at least 0.
        alpha: As in :class:`~tailwise.losses.focal.Focal`.
        normalize: Whether the weights are scaled to sum to the number of classes.

    Raises:
        ValueError: A value is out of range.
    """

    #: Sigmoids see the logits themselves.
    shift_invariant: ClassVar[bool] = False
    #: All weights are 1 when the counts are equal.
    reduces_to: ClassVar[str | None] = "focal"

    beta: float = 0.9999
    gamma: float = 2.0
    alpha: float | None = None
    normalize: bool = True

    def __post_init__(self) -> None:
        """Checks the ranges."""
        from_and_below("beta", self.beta, 0, 1)
        check_focal(self.gamma, self.alpha)

    def class_weight(self, counts: Tensor) -> Tensor:
        """The weights, shape ``[C]``."""
        weight = effective_number(counts, self.beta)
        return sum_to_classes(weight) if self.normalize else weight

    def unweighted(self, logits: Tensor, target: Tensor) -> Tensor:
        """The focal loss: ``[B, C]``, ``[B]`` -> ``[B]``."""
        return sigmoid_focal(logits, target, self.gamma, self.alpha)
