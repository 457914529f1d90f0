"""A loss on one head for one stream, with a weight and a named reduction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from torch import Tensor

from tailwise.core.registry import register
from tailwise.core.spec import frozen
from tailwise.core.stats import ClassStats
from tailwise.core.types import MixedTarget, Part, Target
from tailwise.losses.base import Loss
from tailwise.losses.cross_entropy import CrossEntropy
from tailwise.objectives.base import BoundObjective, Objective


@register("classification")
@frozen
class Classification(Objective):
    """A classification loss on one head and one stream.

    With mixed targets the per-sample loss is ``lam L(first) + (1 - lam) L(second)``, formed before the reduction. The
    pooled features, for a loss that needs them, stand beside the logits as ``"features"``.
    """

    loss: Loss = CrossEntropy()
    head: str = "main"
    """The head whose logits it reads."""
    stream: str = "main"
    """The stream whose rows and targets it reads."""
    weight: float = 1.0
    """Factor in the total."""
    reduction: Literal["mean", "weighted_mean"] = "mean"
    """mean: divide by the samples; weighted_mean: by the sum of the loss's sample weights."""

    def __post_init__(self) -> None:
        if self.weight < 0:
            raise ValueError(f"weight must be at least 0, got {self.weight}")

    @property
    def streams(self) -> tuple[str, ...]:
        """The one stream."""
        return (self.stream,)

    @property
    def heads(self) -> tuple[str, ...]:
        """The one head."""
        return (self.head,)

    def bind(self, stats: ClassStats) -> BoundObjective:
        """The module for these class counts."""
        return _BoundClassification(self, stats)


class _BoundClassification(BoundObjective):
    def __init__(self, objective: Classification, stats: ClassStats) -> None:
        super().__init__()
        self.spec = objective
        self.loss = objective.loss.bind(stats, objective.reduction)
        self.needs_features = objective.loss.needs_features

    def forward(
        self, outputs: Mapping[str, Tensor], targets: Mapping[str, Target], rows: Mapping[str, tuple[int, int]]
    ) -> dict[str, Part]:
        start, end = rows[self.spec.stream]
        logits, target = outputs[self.spec.head][start:end], targets[self.spec.stream]
        features = outputs["features"][start:end] if self.needs_features else None
        if isinstance(target, MixedTarget):
            first_sum, first_count = self.loss.parts(logits, target.first, target.lam, features)
            second_sum, second_count = self.loss.parts(logits, target.second, 1 - target.lam, features)
            numerator, denominator = first_sum + second_sum, first_count + second_count
        else:
            numerator, denominator = self.loss.parts(logits, target, features=features)
        return {f"{self.spec.stream}/{self.spec.loss.name}": Part(numerator, denominator, self.spec.weight)}
