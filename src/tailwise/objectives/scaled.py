"""Any objective times a factor, so that it can be one of several tasks."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from tailwise.core.checks import at_least
from tailwise.core.registry import register
from tailwise.core.spec import frozen
from tailwise.core.stats import ClassStats
from tailwise.core.types import Part, Target
from tailwise.objectives.base import BoundObjective, Objective
from tailwise.objectives.classification import Classification


@register("scaled")
@frozen
class Scaled(Objective):
    """The parts of another objective, each with its weight times a factor.

    Args:
        objective: The other one.
        factor: At least 0.

    Raises:
        ValueError: ``factor`` is below 0.
    """

    objective: Objective = Classification()
    factor: float = 1.0

    def __post_init__(self) -> None:
        """Checks the factor."""
        at_least("factor", self.factor, 0)

    @property
    def streams(self) -> tuple[str, ...]:
        """Those of the other objective."""
        return self.objective.streams

    @property
    def heads(self) -> tuple[str, ...]:
        """Those of the other objective."""
        return self.objective.heads

    def bind(self, stats: ClassStats) -> BoundObjective:
        """The module for these class counts."""
        return _BoundScaled(self, stats)


class _BoundScaled(BoundObjective):
    def __init__(self, objective: Scaled, stats: ClassStats) -> None:
        super().__init__()
        self.factor, self.inner = objective.factor, objective.objective.bind(stats)
        self.needs_features = self.inner.needs_features

    def forward(
        self, outputs: Mapping[str, Tensor], targets: Mapping[str, Target], rows: Mapping[str, tuple[int, int]]
    ) -> dict[str, Part]:
        parts: dict[str, Part] = self.inner(outputs, targets, rows)
        return {name: part._replace(weight=self.factor * part.weight) for name, part in parts.items()}
