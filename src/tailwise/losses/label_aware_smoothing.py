"""Label-aware smoothing: labels of large classes are smoothed more than those of small ones (zhong2021mislas)."""

from __future__ import annotations

import math
import typing
from typing import ClassVar, Literal

from torch import Tensor
from torch.nn import functional as F

from tailwise.core.checks import from_and_below, positive
from tailwise.core.registry import register
from tailwise.core.spec import frozen
from tailwise.losses.base import Loss

#: How the smoothing rises from the smallest to the largest class.
Shape = Literal["concave", "linear", "convex", "exponential"]
#: The classes among which the smoothed part of the label is divided.
Spread = Literal["all", "others"]


@register(
    "label_aware_smoothing", paper="zhong2021mislas", presets={"label_aware_smoothing_paper": {"spread": "others"}}
)
@frozen
class LabelAwareSmoothing(Loss):
    r"""Cross-entropy with a smoothing that depends on the size of the label's class.

    With :math:`r_c = (n_c - n_{min}) / (n_{max} - n_{min})` the smoothing is :math:`\epsilon_c = \epsilon_{tail} +
    (\epsilon_{head} - \epsilon_{tail}) f(r_c)`, where :math:`f` is :math:`\sin(\pi r / 2)` (concave), :math:`r`
    (linear), :math:`1 - \cos(\pi r / 2)` (convex) or :math:`r^p` (exponential, a name of the authors' code). When all
    classes are equally large it is :math:`\epsilon_{tail}`; the authors' code divides by zero there.

    The paper moves :math:`\epsilon_y` to the other :math:`C - 1` classes. The authors' code, and that of Zhang et al.
    (2021), divide it among all :math:`C`, so that the label keeps :math:`\epsilon_y / C`; this is the default.

    Args:
        head: :math:`\epsilon_{head}`, the smoothing of the largest class, in [0, 1).
        tail: :math:`\epsilon_{tail}`, the smoothing of the smallest class, in [0, 1).
        shape: Which :math:`f`.
        power: :math:`p`, above 0; given for the exponential shape and for no other.
        spread: ``"all"``: among all classes (code); ``"others"``: among the others (paper).

    Raises:
        ValueError: A value is out of range, or ``power`` and ``shape`` do not fit.
    """

    #: The smoothing of the smallest class stays when all counts are equal.
    reduces_to: ClassVar[str | None] = None

    head: float = 0.4
    tail: float = 0.1
    shape: Shape = "concave"
    power: float | None = None
    spread: Spread = "all"

    def __post_init__(self) -> None:
        """Checks the ranges and the choices."""
        from_and_below("head", self.head, 0, 1)
        from_and_below("tail", self.tail, 0, 1)
        for name, value, choices in (("shape", self.shape, Shape), ("spread", self.spread, Spread)):
            if value not in typing.get_args(choices):
                raise ValueError(f"{name} must be one of {', '.join(typing.get_args(choices))}, got {value!r}")
        if (self.shape == "exponential") != (self.power is not None):
            raise ValueError(f"power must be given for shape 'exponential' only, got {self.power} for {self.shape!r}")
        if self.power is not None:
            positive("power", self.power)

    def class_terms(self, counts: Tensor) -> dict[str, Tensor]:
        """``smoothing``, shape ``[C]``."""
        # The range is at least 1 unless all are equal; then every difference is 0.
        rise = (counts - counts.min()) / (counts.max() - counts.min()).clamp_min(1.0)
        if self.shape == "concave":
            rise = (math.pi / 2 * rise).sin()
        elif self.shape == "convex":
            rise = 1.0 - (math.pi / 2 * rise).cos()
        elif self.power is not None:
            rise = rise**self.power
        return {"smoothing": self.tail + (self.head - self.tail) * rise}

    def per_sample(self, logits: Tensor, target: Tensor, *, smoothing: Tensor) -> Tensor:
        """The loss of every sample: ``[B, C]``, ``[B]`` -> ``[B]``."""
        losses = -F.log_softmax(logits, dim=1)
        own = losses.gather(1, target[:, None])[:, 0]
        rest = losses.mean(1) if self.spread == "all" else (losses.sum(1) - own) / (logits.shape[1] - 1)
        return own + smoothing[target] * (rest - own)
