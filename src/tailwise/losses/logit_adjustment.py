"""Logit-adjusted cross-entropy: the class prior enters the softmax in training (menon2021long, Eq. 10)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from tailwise.core.checks import finite
from tailwise.core.registry import register
from tailwise.core.spec import frozen
from tailwise.losses.base import Loss


@register("logit_adjustment", paper="menon2021long")
@frozen
class LogitAdjustment(Loss):
    r"""Cross-entropy on logits plus a multiple of the log prior.

    The loss is :math:`-\log \frac{\pi_y^\tau e^{z_y}}{\sum_c \pi_c^\tau e^{z_c}}` with the prior :math:`\pi_c = n_c /
    N` (Eq. 10). The logits are adjusted in training and used as they are at test time. With :math:`\tau = 1` it is
    balanced softmax. Subtracting :math:`\tau \log \pi` from an ordinary network's logits at test time is the paper's
    other form, and not a loss.

    Args:
        tau: :math:`\tau`, a finite number; 0 gives cross-entropy.

    Raises:
        ValueError: ``tau`` is not finite.
    """

    tau: float = 1.0

    def __post_init__(self) -> None:
        """Checks the range."""
        finite("tau", self.tau)

    def class_terms(self, counts: Tensor) -> dict[str, Tensor]:
        """``shift``, the multiple of the log prior, shape ``[C]``."""
        return {"shift": self.tau * (counts / counts.sum()).log()}

    def per_sample(self, logits: Tensor, target: Tensor, *, shift: Tensor) -> Tensor:
        """The loss of every sample: ``[B, C]``, ``[B]`` -> ``[B]``."""
        return F.cross_entropy(logits + shift, target, reduction="none")
