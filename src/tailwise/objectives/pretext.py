"""Cross-entropy of an auxiliary head towards labels that are not classes (gidaris2018unsupervised)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from tailwise.core.checks import at_least
from tailwise.core.registry import register
from tailwise.core.spec import frozen
from tailwise.core.stats import ClassStats
from tailwise.core.types import MixedTarget, Part, Target
from tailwise.objectives.base import BoundObjective, Objective


@register("pretext", paper="gidaris2018unsupervised")
@frozen
class Pretext(Objective):
    """Plain softmax cross-entropy, averaged over the samples, for labels that know no class counts.

    Raises:
        ValueError: ``weight`` is below 0.
    """

    head: str = "main"
    """The head whose logits it reads; any number of outputs."""
    stream: str = "main"
    """The stream or view whose rows and labels it reads."""
    weight: float = 1.0
    """Factor in the total."""

    def __post_init__(self) -> None:
        """Checks the weight."""
        at_least("weight", self.weight, 0)

    @property
    def streams(self) -> tuple[str, ...]:
        """The one stream."""
        return (self.stream,)

    @property
    def heads(self) -> tuple[str, ...]:
        """The one head."""
        return (self.head,)

    def bind(self, stats: ClassStats) -> BoundObjective:
        """The module; the class counts are not used."""
        return _BoundPretext(self)


class _BoundPretext(BoundObjective):
    def __init__(self, objective: Pretext) -> None:
        super().__init__()
        self.spec = objective

    def forward(
        self, outputs: Mapping[str, Tensor], targets: Mapping[str, Target], rows: Mapping[str, tuple[int, int]]
    ) -> dict[str, Part]:
        start, end = rows[self.spec.stream]
        logits, target = outputs[self.spec.head][start:end], targets[self.spec.stream]
        logits = logits if logits.dtype == torch.float64 else logits.float()
        if isinstance(target, MixedTarget):
            first, second = (functional.cross_entropy(logits, label, reduction="none") for label in target[:2])
            loss = target.lam * first + (1 - target.lam) * second
        else:
            loss = functional.cross_entropy(logits, target, reduction="none")
        return {
            f"{self.spec.stream}/{self.spec.name}": Part(loss.sum(), loss.new_full((), loss.shape[0]), self.spec.weight)
        }
