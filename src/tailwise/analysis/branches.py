"""What each branch of a head reaches alone, by shot group (as cui2022reslt, Fig. 6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from tailwise.analysis.groups import groups


def branches(records: Sequence[Mapping[str, Any]], labels: Mapping[str, str] | None = None) -> Figure:
    """Grouped bars of the fused prediction and of every branch, over all images and by shot group.

    Args:
        records: Evaluations of equal recipes that differ in the seed, each with ``branches``; bars are means over them,
            whiskers the sample standard deviation.
        labels: As :func:`tailwise.analysis.groups.groups`.

    Raises:
        ValueError: No record, or one without branches.
    """
    if not records or not all(record.get("branches") for record in records):
        raise ValueError("expected at least one evaluation, each with the accuracy of its branches")
    rows: dict[str, dict[str, tuple[float, float | None] | None]] = {"all branches": _row([_whole(r) for r in records])}
    for name in records[0]["branches"]:
        rows[_called(name)] = _row(
            [{"top1": r["branches"][name]["top1"], **r["branches"][name]["groups"]} for r in records]
        )
    return groups(rows, labels)


def _whole(record: Mapping[str, Any]) -> dict[str, float | None]:
    return {"top1": record["top1"], **{name: group["accuracy"] for name, group in record["groups"].items()}}


def _row(values: Sequence[Mapping[str, float | None]]) -> dict[str, tuple[float, float | None] | None]:
    return {key: _cell([one[key] for one in values]) for key in values[0]}


def _cell(values: Sequence[float | None]) -> tuple[float, float | None] | None:
    known = [value for value in values if value is not None]
    if not known:
        return None
    return float(np.mean(known)), float(np.std(known, ddof=1)) if len(known) > 1 else None


def _called(name: str) -> str:
    """``branch0`` is the main branch; any other branch by its number, or by its name where it has none."""
    number = name.removeprefix("branch")
    if not number.isdigit():
        return name
    return "main branch" if int(number) == 0 else f"residual branch {int(number)}"
