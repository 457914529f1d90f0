"""CDT: class-dependent temperatures shrink the logits of small classes in training (ye2020cdt)."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from tailwise.core.checks import at_least, finite
from tailwise.core.registry import register
from tailwise.core.spec import frozen
from tailwise.losses.base import Loss


@register("cdt", paper="ye2020cdt")
@frozen
class CDT(Loss):
    r"""Cross-entropy with class-dependent temperatures.

    The loss is :math:`-\log \frac{e^{z_y / a_y}}{\sum_c e^{z_c / a_c}}` with temperatures :math:`a_c = (n_{max} /
    n_c)^\gamma`: 1 for the largest class, more for smaller ones, whose logits therefore have to grow to fit the
    training images. At test time the logits are used as they are.

    Args:
        gamma: :math:`\gamma`, a finite number of at least 0; 0 gives cross-entropy. The code of Zhang et al. (2021)
            uses 0.2, the default.

    Raises:
        ValueError: ``gamma`` is out of range.
    """

    #: A constant added to all logits is divided by another temperature for each class.
    shift_invariant: ClassVar[bool] = False

    gamma: float = 0.2

    def __post_init__(self) -> None:
        """Checks the range."""
        at_least("gamma", self.gamma, 0)
        finite("gamma", self.gamma)

    def class_terms(self, counts: Tensor) -> dict[str, Tensor]:
        """``temperature``, at least 1, shape ``[C]``."""
        return {"temperature": (counts.max() / counts) ** self.gamma}

    def per_sample(self, logits: Tensor, target: Tensor, *, temperature: Tensor) -> Tensor:
        """The loss of every sample: ``[B, C]``, ``[B]`` -> ``[B]``."""
        return F.cross_entropy(logits / temperature, target, reduction="none")
