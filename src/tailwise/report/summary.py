"""What the numbers say, in sentences: every word of them is computed from the results."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from tailwise.evaluation.shots import GROUPS
from tailwise.report.ledger import Result
from tailwise.report.table import MINUS, Row, Table, statistic


def sentences(table: Table, chosen: Mapping[str, Sequence[Result]]) -> list[str]:
    """The headline of a page, the most important sentence first.

    Args:
        table: The comparison table of the same results.
        chosen: Name -> results, one per seed, in the table's order.
    """
    first, *others = table.rows
    if not others:
        found = [_level(first, chosen[first.name])]
    else:
        found = []
        for row in sorted(others, key=lambda row: -_mean(row, "top1")):
            headline, basis = _against(row.name, first.name, chosen)
            found += [headline, basis] if not found else [f"{headline} {basis}"]
    if any(column.key == "balanced_accuracy" for column in table.columns):
        each = ", ".join(f"{row.name} {_mean(row, 'balanced_accuracy'):.1f} %" for row in table.rows)
        found.append(f"The test set is not balanced; averaged over classes: {each}.")
    best = max(table.rows, key=lambda row: _mean(row, "top1"))
    return [*found, *_weak_spots(best.name, chosen[best.name])]


def _level(row: Row, results: Sequence[Result]) -> str:
    data = results[0].data
    parts = [f"{cell.mean:.1f} on {group}-shot" for group in GROUPS if (cell := row.cells[group])]
    seeds = f", mean of {len(results)} seeds" if len(results) > 1 else ""
    top1 = row.cells["top1"]
    shown = f"{top1.show()} %" if top1 else "no measurable accuracy"
    return (
        f"{row.name} reaches {shown} top-1 on {data.get('test_images', 0):,} test images of {data.get('name')}"
        f"{seeds}: {', '.join(parts)} classes."
    )


def _against(name: str, reference: str, chosen: Mapping[str, Sequence[Result]]) -> tuple[str, str]:
    common = {result.seed for result in chosen[name]} & {result.seed for result in chosen[reference]}
    mine, theirs = (
        {result.seed: result for result in chosen[key] if result.seed in common or not common}
        for key in (name, reference)
    )
    mine_top1, theirs_top1 = _mean_top1(mine.values()), _mean_top1(theirs.values())
    gap = mine_top1 - theirs_top1
    if round(abs(gap), 1) == 0:
        verb = f"{name} and {reference} are level"
    else:
        verb = f"{name} {f'gains {gap:.1f} points over' if gap > 0 else f'loses {-gap:.1f} points to'} {reference}"
    shots = chosen[reference][0].shots
    gains: list[str] = []
    for group in reversed(GROUPS):
        pair = [
            statistic([result.groups(shots)[group]["accuracy"] for result in side.values()]) for side in (mine, theirs)
        ]
        if pair[0] and pair[1]:
            gains.append(f"{_signed(pair[0].mean - pair[1].mean)} on {group}-shot")
    if not common:
        basis = "the runs share no seed, so this is a difference of means"
    else:
        basis = _agreement([mine[seed].selected["top1"] - theirs[seed].selected["top1"] for seed in sorted(common)])
    return f"{verb}: {', '.join(gains)} classes.", f"Top-1 is {mine_top1:.1f} against {theirs_top1:.1f} %; {basis}."


def _agreement(gaps: Sequence[float]) -> str:
    if len(gaps) == 1:
        return "one seed each, so the spread between seeds is not known"
    if min(gaps) > 0 or max(gaps) < 0:
        return f"the sign is the same in {'both' if len(gaps) == 2 else f'all {len(gaps)}'} seeds"
    return f"the {len(gaps)} seeds do not agree on the sign ({_signed(min(gaps))} to {_signed(max(gaps))})"


def _weak_spots(name: str, results: Sequence[Result]) -> list[str]:
    with np.errstate(invalid="ignore"):
        accuracy = np.stack([result.per_class for result in results]).mean(axis=0)
    found: list[str] = []
    never = int((accuracy == 0).sum())
    if never:
        found.append(f"{name} never recognises {never} of {accuracy.size} classes.")
    elif np.isfinite(accuracy).any():
        worst = int(np.nanargmin(accuracy))
        found.append(
            f"The weakest class of {name} is {results[0].class_names[worst]} with {accuracy[worst]:.1f} % "
            f"({int(results[0].class_counts[worst]):,} training images)."
        )
    gap = statistic([_overconfidence(result) for result in results])
    if gap is not None and abs(gap.mean) >= 3:
        found.append(
            f"It is {'over' if gap.mean > 0 else 'under'}-confident: "
            f"its probabilities promise {abs(gap.mean):.0f} points {'more' if gap.mean > 0 else 'less'} than it keeps."
        )
    return found


def _overconfidence(result: Result) -> float | None:
    bins = result.reliability
    if not bins or not sum(bins["count"]):
        return None
    rows = zip(bins["confidence"], bins["accuracy"], bins["count"], strict=True)
    total = sum(count * (confidence - accuracy) for confidence, accuracy, count in rows if count)
    return 100 * total / sum(bins["count"])


def _mean_top1(results: Iterable[Result]) -> float:
    return float(np.mean([result.selected["top1"] for result in results]))


def _signed(value: float) -> str:
    return f"{value:+z.1f}".replace("-", MINUS)


def _mean(row: Row, key: str) -> float:
    cell = row.cells.get(key)
    return cell.mean if cell else -math.inf
