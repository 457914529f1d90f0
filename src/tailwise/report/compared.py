"""What a page shows of several results, computed once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tailwise.analysis.figure import frequency_order
from tailwise.evaluation.flow import group_flow
from tailwise.evaluation.shots import GROUPS, shot_groups
from tailwise.report.ledger import Result
from tailwise.report.table import Statistic, Table, statistic

#: Per class in label order; None where a class has no test images.
PerClass = list[float | None]


@dataclass(frozen=True, eq=False)
class Compared:
    """Results by recipe.

    Attributes:
        chosen: Recipe -> results, one per seed; the first recipe is what the others are compared with.
        table: Their comparison.
    """

    chosen: Mapping[str, Sequence[Result]]
    table: Table

    @property
    def reference(self) -> str:
        """The recipe that the others are compared with."""
        return next(iter(self.chosen))

    @property
    def first(self) -> Result:
        """The first result of the first recipe, which names the classes and the shot protocol."""
        return self.chosen[self.reference][0]

    @property
    def counts(self) -> NDArray[np.int64]:
        """Training images per class, ``[C]``."""
        return self.first.class_counts

    @property
    def names(self) -> list[str]:
        """Class names in label order."""
        return self.first.class_names

    @property
    def shots(self) -> str:
        """Name of the shot protocol."""
        return self.first.shots

    @cached_property
    def order(self) -> list[int]:
        """Labels from the largest class to the smallest, ``[C]``."""
        return frequency_order(self.counts).tolist()

    @cached_property
    def group_of(self) -> list[str]:
        """The shot group of each class, ``""`` for one in no group."""
        masks = shot_groups(self.shots, self.counts)
        return [next((group for group in GROUPS if masks[group][c]), "") for c in range(self.counts.size)]

    @cached_property
    def accuracies(self) -> dict[str, PerClass]:
        """Recipe -> accuracy of each class in percent, mean over seeds."""
        return {name: _mean_per_class(results) for name, results in self.chosen.items()}

    @cached_property
    def gains(self) -> dict[str, PerClass]:
        """Recipe -> gain of each class over the first recipe in points, over the seeds that both have."""
        found: dict[str, PerClass] = {}
        for name, results in self.chosen.items():
            if name == self.reference:
                continue
            pairs = zip(*_paired(results, self.chosen[self.reference]), strict=True)
            found[name] = [None if a is None or b is None else a - b for a, b in pairs]
        return found

    @cached_property
    def group_values(self) -> dict[str, dict[str, list[float]]]:
        """Recipe -> ``top1`` and every shot group -> accuracy of each seed in percent; empty where there is none."""
        found: dict[str, dict[str, list[float]]] = {}
        for name, results in self.chosen.items():
            records = [result.groups(self.shots) for result in results]
            values = {"top1": [result.selected["top1"] for result in results]}
            values |= {group: [record[group]["accuracy"] for record in records] for group in GROUPS}
            found[name] = {key: [value for value in row if value is not None] for key, row in values.items()}
        return found

    @cached_property
    def group_statistics(self) -> dict[str, dict[str, Statistic | None]]:
        """The same as mean and standard deviation."""
        return {
            name: {key: statistic(values) for key, values in row.items()} for name, row in self.group_values.items()
        }

    @cached_property
    def flows(self) -> dict[str, dict[str, dict[str, float] | None]]:
        """Recipe -> true group -> what its test images are taken for, in percent, mean over seeds."""
        found: dict[str, dict[str, dict[str, float] | None]] = {}
        for name, results in self.chosen.items():
            seeds = [group_flow(result.confusion, result.class_counts, self.shots) for result in results]
            found[name] = {group: _mean_flow([flow[group] for flow in seeds]) for group in GROUPS}
        return found


def _mean_flow(flows: Sequence[Mapping[str, float] | None]) -> dict[str, float] | None:
    known = [flow for flow in flows if flow is not None]
    return {end: float(np.mean([flow[end] for flow in known])) for end in known[0]} if known else None


def _paired(results: Sequence[Result], reference: Sequence[Result]) -> tuple[PerClass, PerClass]:
    """Mean class accuracies of both over their common seeds (over all seeds when none is common)."""
    common = {result.seed for result in results} & {result.seed for result in reference}
    if not common:
        return _mean_per_class(results), _mean_per_class(reference)
    return (
        _mean_per_class([result for result in results if result.seed in common]),
        _mean_per_class([result for result in reference if result.seed in common]),
    )


def _mean_per_class(results: Sequence[Result]) -> PerClass:
    mean = np.stack([result.per_class for result in results]).mean(axis=0)
    return [float(value) if np.isfinite(value) else None for value in mean]
