"""A measure against a hyper-parameter or a depth, one line for each setting (chu2020feature, Fig. 8 and 9)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from tailwise.analysis.figure import COLOURS, new_figure, short, style
from tailwise.core.errors import DataError
from tailwise.report.ledger import Result, one_per_seed

#: A place on the horizontal axis: a number, or a name such as ``block3``; all of a sweep are of one kind.
Place = float | str


def sweep_values(
    results: Mapping[str, Mapping[Place, Sequence[Result]]], measure: str = "top1"
) -> dict[str, dict[Place, list[float]]]:
    """The numbers of a sweep from stored results.

    Args:
        results: Line -> place -> results that differ in their seed.
        measure: A measure of the selected evaluation.

    Raises:
        DataError: A place without results, or a result without the measure.
    """
    found: dict[str, dict[Place, list[float]]] = {}
    for line, places in results.items():
        for place, several in places.items():
            values = [result.selected.get(measure) for result in one_per_seed(several)]
            if not values or any(not isinstance(value, int | float) for value in values):
                raise DataError(f"no {measure!r} for {place} of {line}")
            found.setdefault(line, {})[place] = [float(value or 0.0) for value in values]
    return found


def sweep(values: Mapping[str, Mapping[Place, Sequence[float]]], *, label: str, measure: str = "top-1, %") -> Figure:
    """Mean over the seeds against the place, with a bar of one sample standard deviation where there are several seeds.

    Args:
        values: Line -> place -> a number for each seed.
        label: Of the horizontal axis.
        measure: Of the vertical axis.

    Raises:
        DataError: No numbers at all, or places of both kinds.
    """
    places = list(dict.fromkeys(place for line in values.values() for place in line))
    named = [isinstance(place, str) for place in places]
    if not places or any(named) != all(named):
        raise DataError(f"a sweep needs places that are all numbers or all names, got {places}")
    where: dict[Any, float] = {place: number if named[0] else float(place) for number, place in enumerate(places)}
    with style():
        figure, (axes,) = new_figure(3.2)
        for number, (line, points) in enumerate(values.items()):
            kept = sorted(points.items(), key=lambda item: where[item[0]])
            mean = [float(np.mean(several)) for _, several in kept]
            spread = [float(np.std(several, ddof=1)) if len(several) > 1 else 0.0 for _, several in kept]
            axes.errorbar(
                [where[place] for place, _ in kept],
                mean,
                yerr=spread if any(spread) else None,
                color=COLOURS[number % len(COLOURS)],
                marker="o",
                markersize=4,
                capsize=2,
                label=short(line, 30),
            )
        if named[0]:
            axes.set_xticks(list(where.values()), [short(place, 16) for place in places])
        axes.set(xlabel=label, ylabel=measure)
        figure.legend(loc="outside upper right", ncols=4, fontsize=8.5)
        return figure
