"""An objective for each expert of its own, summed over the experts (cui2022reslt, Table 7; wang2021ride)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from tailwise.core.registry import register
from tailwise.core.spec import frozen
from tailwise.core.stats import ClassStats
from tailwise.core.types import Part, Target
from tailwise.heads.experts import expert_output
from tailwise.objectives.base import BoundObjective, Objective
from tailwise.objectives.classification import Classification


@register("per_expert", paper="cui2022reslt")
@frozen
class PerExpert(Objective):
    """The sum over the experts of another objective, which sees one expert's logits as if they were a whole network's.

    The inner objective reads ``main`` and finds the logits of ``expert0``, of ``expert1`` and so on; other outputs of
    the experts' heads it finds under their own names. Each expert's loss is divided by its own denominator before the
    sum, so the learning rate acts on the experts as on separate networks. A head without experts counts as one.

    Args:
        objective: What is computed for each expert.

    Raises:
        ValueError: The inner objective is ``per_expert`` itself, or reads several experts at once.
    """

    objective: Objective = Classification()

    def __post_init__(self) -> None:
        """Checks the inner objective."""
        if self.objective.name in ("per_expert", "ride"):
            raise ValueError(f"objective must be one for a single network, got {self.objective.name!r}")

    @property
    def streams(self) -> tuple[str, ...]:
        """Those of the inner objective."""
        return self.objective.streams

    def reads(self, names: Sequence[str]) -> tuple[str, ...]:
        """What the inner objective reads, for every expert that there is."""
        experts = count_experts(names)
        if not experts:
            return self.objective.reads(names)
        inner = self.objective.reads(names)
        return tuple(expert_output(number, name) for number in range(experts) for name in inner)

    def bind(self, stats: ClassStats) -> BoundObjective:
        """The module for these class counts."""
        return _BoundPerExpert(self.objective.bind(stats))


class _BoundPerExpert(BoundObjective):
    def __init__(self, inner: BoundObjective) -> None:
        super().__init__()
        self.inner: nn.Module = inner
        self.needs_features = inner.needs_features

    def forward(
        self, outputs: Mapping[str, Tensor], targets: Mapping[str, Target], rows: Mapping[str, tuple[int, int]]
    ) -> dict[str, Part]:
        found: dict[str, Part] = {}
        for number, seen in enumerate(by_expert(outputs)):
            parts: dict[str, Part] = self.inner(seen, targets, rows)
            found |= {f"expert{number}/{name}": part for name, part in parts.items()}
        return found


def count_experts(names: Sequence[str] | Mapping[str, Tensor]) -> int:
    """Experts among the outputs of a head; 0 of a head without."""
    number = 0
    while f"expert{number}" in names:
        number += 1
    return number


def by_expert(outputs: Mapping[str, Tensor]) -> Sequence[Mapping[str, Tensor]]:
    """The outputs of every expert under the names of a network of its own; all outputs as they are without experts.

    Features ``[B, E D]`` are shared out.
    """
    experts = count_experts(outputs)
    if not experts:
        return [outputs]
    seen: list[dict[str, Tensor]] = []
    for number in range(experts):
        prefix = f"expert{number}/"
        own = {name.removeprefix(prefix): value for name, value in outputs.items() if name.startswith(prefix)}
        own["main"] = outputs[f"expert{number}"]
        if "features" in outputs:
            own["features"] = outputs["features"].chunk(experts, dim=1)[number]
        seen.append(own)
    return seen
