"""How much of a paper's table a ledger holds."""

from __future__ import annotations

from typing import Any, get_args

from tailwise.core.errors import TailwiseError
from tailwise.report.cells import Wish, cells_of
from tailwise.report.entries import Entries, plan_hash
from tailwise.report.paper import Table, Variant


def table_row(table: Table, entries: Entries) -> dict[str, Any]:
    """What ``tailwise list tables`` says of a table.

    Returns:
        ``name``, ``source`` (key in the bibliography), ``number``, ``title``, ``metric``, the number of ``rows``, the
        keys of the ``columns``, and for each variant ``cells`` that can be trained, ``measured`` ones, and ``seeds`` of
        all of these together. Only the paper's own settings count, not other data or another number of epochs.
    """
    seeds: dict[str, set[int]] = {}
    for result in entries.results:
        seeds.setdefault(str(result.record.get("plan_hash")), set()).add(result.seed)
    row: dict[str, Any] = {
        "name": table.name,
        "source": table.paper,
        "number": table.number,
        "title": table.title,
        "metric": table.metric,
        "rows": len(table.rows),
        "columns": [column.key for column in table.columns],
    }
    for variant in get_args(Variant):
        try:
            cells = [cell for cell in cells_of(table, Wish(variant=variant)) if cell.recipe is not None]
        except TailwiseError:  # no row of this variant
            cells = []
        found = [seeds.get(plan_hash(cell.recipe), set[int]()) for cell in cells if cell.recipe is not None]
        row[variant] = {
            "cells": len(cells),
            "measured": sum(bool(item) for item in found),
            "seeds": sum(len(item) for item in found),
        }
    return row
