"""The classes of a page, one by one: all of them by size, and the weakest with what they are taken for."""

from __future__ import annotations

from typing import Any

import numpy as np

from tailwise.report.compared import Compared
from tailwise.report.ledger import Result


def class_rows(compared: Compared) -> list[dict[str, Any]]:
    """Every class from the largest to the smallest.

    Returns:
        Per class ``rank`` (from 1), ``name``, ``count`` (training images), ``group`` (``""`` for none) and ``values``:
        for every recipe its accuracy in percent and its gain over the first in points (none for the first itself), both
        mean over seeds and None where unknown.
    """
    recipes = list(compared.chosen)
    found: list[dict[str, Any]] = []
    for rank, c in enumerate(compared.order, start=1):
        values: list[tuple[str, float | None]] = []
        for name in recipes:
            values.append(("accuracy", compared.accuracies[name][c]))
            if name in compared.gains:
                values.append(("gain", compared.gains[name][c]))
        found.append(
            {
                "rank": rank,
                "name": compared.names[c],
                "count": int(compared.counts[c]),
                "group": compared.group_of[c],
                "values": values,
            }
        )
    return found


def worst_classes(result: Result, limit: int = 10) -> list[dict[str, Any]]:
    """The classes with the lowest accuracy (smaller ones first when equal) and what they are taken for.

    Returns:
        Per class ``name``, ``count`` (training images), ``tested`` (test images), ``accuracy`` (percent) and
        ``confused``: up to three pairs of predicted class and percent.
    """
    confusion, counts, accuracy = result.confusion, result.class_counts, result.per_class
    tested = confusion.sum(axis=1)
    order = [int(c) for c in np.lexsort((counts, accuracy)) if tested[c] > 0][:limit]
    found: list[dict[str, Any]] = []
    for c in order:
        others = confusion[c].copy()
        others[c] = 0
        top = [int(other) for other in np.argsort(-others, kind="stable")[:3] if others[other] > 0]
        found.append(
            {
                "name": result.class_names[c],
                "count": int(counts[c]),
                "tested": int(tested[c]),
                "accuracy": float(accuracy[c]),
                "confused": [(result.class_names[other], 100 * float(others[other] / tested[c])) for other in top],
            }
        )
    return found


def num_worst(num_classes: int, num_recipes: int) -> int:
    """How many weak classes to show: half of the classes, at least three and at most ten (five beside many recipes)."""
    return min(10 if num_recipes <= 3 else 5, max(3, num_classes // 2))
