"""The objective slot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from torch import Tensor, nn

from tailwise.core.registry import Slot
from tailwise.core.stats import ClassStats
from tailwise.core.types import Part, Target


class BoundObjective(nn.Module):
    """An objective that knows the class counts; ``forward`` gives its named parts."""

    #: Whether it also reads ``outputs["features"]``, the pooled features ``[B,D]`` that entered the head.
    needs_features: bool = False

    def forward(
        self, outputs: Mapping[str, Tensor], targets: Mapping[str, Target], rows: Mapping[str, tuple[int, int]]
    ) -> dict[str, Part]:
        """The parts of the objective.

        Args:
            outputs: Logits ``[B,C]`` by head, for the concatenation of all streams; and the features if it
                needs them.
            targets: By stream.
            rows: First and last-plus-one row of each stream in the concatenation.
        """
        raise TypeError(f"{type(self).__name__} does not define forward")


class Objective(Slot):
    """One entry of a stage's objective. Entries add up, so an auxiliary task is one more entry."""

    kind: ClassVar[str] = "objectives"

    @property
    def streams(self) -> tuple[str, ...]:
        """Streams whose targets it reads."""
        return ()

    @property
    def heads(self) -> tuple[str, ...]:
        """Heads whose logits it reads."""
        return ()

    def reads(self, names: Sequence[str]) -> tuple[str, ...]:
        """The logits that it reads of a head that gives these; those of :attr:`heads` unless it depends on the head.

        Args:
            names: Names of the head's logits.
        """
        del names
        return self.heads

    def bind(self, stats: ClassStats) -> BoundObjective:
        """The module that computes it for these class counts."""
        raise TypeError(f"{type(self).__name__} does not define bind")
