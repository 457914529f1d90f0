"""Sigmoid focal loss: one binary problem per class, easy ones weighted down (lin2017focal, Eqs. 4 and 5)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from tailwise.core.checks import at_least, finite, within
from tailwise.core.registry import register
from tailwise.core.spec import frozen
from tailwise.losses.base import Loss


def sigmoid_focal(logits: Tensor, target: Tensor, gamma: float, alpha: float | None = None) -> Tensor:
    """The focal loss of every sample, summed over classes; see :class:`Focal`.

    Args:
        logits: Shape ``[B, C]``.
        target: Labels, shape ``[B]``.
        gamma: At least 0.
        alpha: In [0, 1]; None for no factor.

    Returns:
        Shape ``[B]``.
    """
    positive = F.one_hot(target, logits.shape[1]).bool()
    signed = torch.where(positive, logits, -logits)
    # (1 - p_t) ** gamma as exp(gamma log(1 - p_t)): a power has an infinite gradient at 0 when gamma is below 1.
    losses = -F.logsigmoid(signed) * (gamma * F.logsigmoid(-signed)).exp()
    if alpha is not None:
        losses = torch.where(positive, alpha * losses, (1.0 - alpha) * losses)
    return losses.sum(1)


def check_focal(gamma: float, alpha: float | None) -> None:
    """Refuses hyper-parameters out of range with a ``ValueError``."""
    at_least("gamma", gamma, 0)
    finite("gamma", gamma)
    if alpha is not None:
        within("alpha", alpha, 0, 1)


@register("focal", paper="lin2017focal")
@frozen
class Focal(Loss):
    r"""Sigmoid focal loss: a binary problem for every class, with easy samples weighted down.

    The loss is :math:`-\sum_c (1 - p^t_c)^\gamma \log p^t_c` (Lin et al., Eq. 4; Zhang et al., Eq. 4) with :math:`p^t_c
    = \sigma(z_c)` for the label's class and :math:`1 - \sigma(z_c)` for all others. With :math:`\gamma = 0` it is the
    sum of binary cross-entropies. The sum runs over the classes, so the reduction ``mean`` divides by the batch size,
    not by its product with :math:`C`; the code of Zhang et al. does the same. In classification :math:`\gamma = 2`
    without :math:`\alpha` is usual.

    Lin et al. start the bias of the last layer so that all classes begin improbable, :math:`\log(\pi / (1 - \pi))`.
    That is a matter of the head, ``Linear(bias_prior=0.01)``; the code of Zhang et al. leaves it out.

    Args:
        gamma: :math:`\gamma`, a finite number of at least 0.
        alpha: Factor of the label's class, in [0, 1]; the others get ``1 - alpha`` (Lin et al., Eq. 5). None: no
            factor.

    Raises:
        ValueError: A value is out of range.
    """

    #: Sigmoids see the logits themselves.
    shift_invariant: ClassVar[bool] = False
    #: A sum of binary losses is no softmax cross-entropy.
    reduces_to: ClassVar[str | None] = None

    gamma: float = 2.0
    alpha: float | None = None

    def __post_init__(self) -> None:
        """Checks both ranges."""
        check_focal(self.gamma, self.alpha)

    def per_sample(self, logits: Tensor, target: Tensor) -> Tensor:
        """The loss of every sample: ``[B, C]``, ``[B]`` -> ``[B]``."""
        return sigmoid_focal(logits, target, self.gamma, self.alpha)
