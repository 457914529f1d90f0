"""A paper's table filled from a ledger: our numbers beside those of the paper and of its repository."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tailwise.report.cells import Cell
from tailwise.report.entries import Entries
from tailwise.report.ledger import Result
from tailwise.report.paper import Measure
from tailwise.report.table import Statistic, statistic


@dataclass(frozen=True)
class Filled:
    """One cell with everything that is known about it; percent and points in the table's metric.

    Attributes:
        cell: What it is.
        seeds: Those that have been measured.
        last: Ours after the last epoch.
        best: Ours at the epoch that is best on the test images: optimistic.
        paper: What the paper prints.
        newest: What the repository's newest result table has.
        older: What its older table has.
        difference: Ours minus our baseline row, last epoch, same seed against same seed.
        paper_difference: The paper's number minus that of its baseline row.
        shared: Seeds whose first stages were trained for another recipe.
    """

    cell: Cell
    seeds: tuple[int, ...]
    last: Statistic | None
    best: Statistic | None
    paper: float | None
    newest: float | None
    older: float | None
    difference: Statistic | None
    paper_difference: float | None
    shared: int = 0


@dataclass(frozen=True)
class FilledTable:
    """What the renderers print.

    Attributes:
        title: The table's name, number and title, and the variant.
        sections: By column of the paper, its rows.
        notes: What has to be known to read the numbers.
    """

    title: str
    sections: Mapping[str, tuple[Filled, ...]]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Place:
    """Where a column's images are, as far as they could be looked at.

    Attributes:
        fingerprint: Their checksum; None when they are not here.
        location: The absolute path of a user's own images; None for a named data set.
        num_images: Training images; None when unknown.
    """

    fingerprint: str | None = None
    location: str | None = None
    num_images: int | None = None


def fill(
    cells: Sequence[Cell], baselines: Sequence[Cell], entries: Entries, places: Mapping[str, Place]
) -> FilledTable:
    """Puts the ledger's results into cells.

    Args:
        cells: All of one table.
        baselines: The table's first row that can be trained, in every column.
        entries: The ledger.
        places: By the column's key, where its images are; a column without one has not been looked at.
    """
    table = cells[0].table
    first = {cell.column.key: cell for cell in baselines}
    sections: dict[str, list[Filled]] = {}
    for cell in cells:
        place = places.get(cell.column.key, Place())
        base = first.get(cell.column.key)
        results, reference = results_of(cell, entries, place), results_of(base, entries, place)
        values, best = values_of(results, cell, "last"), values_of(results, cell, "best_on_test")
        against = values_of(reference, cell, "last")
        pairs = [value - against[seed] for seed, value in values.items() if seed in against]
        paper, paper_base = cell.printed(cell.row.expected), base and base.printed(base.row.expected)
        is_base = base is not None and base.row.name == cell.row.name
        known = paper is not None and paper_base is not None and not is_base
        filled = Filled(
            cell,
            tuple(values),
            statistic(list(values.values())),
            statistic(list(best.values())),
            paper,
            cell.printed(cell.row.repository),
            cell.printed(cell.row.repository_old),
            None if is_base else statistic(pairs),
            round((paper or 0) - (paper_base or 0), 6) if known else None,
            sum(result.record.get("shared_stages") is not None for result in results),
        )
        sections.setdefault(_title(cell), []).append(filled)
    variant = "as printed" if cells[0].variant == "paper" else "as the authors' code runs"
    title = f"{table.name} ({table.paper}, Table {table.number}): {table.title}, {variant}"
    return FilledTable(
        title,
        {name: tuple(section) for name, section in sections.items()},
        tuple(_notes(cells, baselines, entries, sections)),
    )


def results_of(cell: Cell | None, entries: Entries, place: Place) -> list[Result]:
    """A cell's results, one for each seed."""
    if cell is None or cell.recipe is None:
        return []
    return entries.of(cell.recipe, fingerprint=place.fingerprint, location=place.location)


def values_of(results: Sequence[Result], cell: Cell, which: str) -> dict[int, float]:
    """By seed, the number in the table's metric of one evaluation, ``last`` or ``best_on_test``."""
    found: dict[int, float] = {}
    for result in results:
        value = _accuracy(result.record.get(which) or {}, cell.column.measure)
        if value is not None:
            found[result.seed] = 100 - value if cell.table.metric == "top1_error" else value
    return found


def _accuracy(record: Mapping[str, object], measure: Measure) -> float | None:
    if measure == "all":
        value = record.get("top1")
    else:
        groups = record.get("groups")
        value = groups[measure]["accuracy"] if isinstance(groups, dict) and measure in groups else None
    return float(value) if isinstance(value, int | float) else None


def _title(cell: Cell) -> str:
    if not cell.own or cell.recipe is None:
        return cell.column.title
    data = cell.recipe.data
    shown = data.name if data.location is None else data.location
    factor = "" if data.imbalance_factor is None else f", {data.imbalance_factor:g}"
    measure = "" if cell.column.measure == "all" else f", {cell.column.measure} shot"
    return f"{shown}{factor}{measure}"


def _notes(
    cells: Sequence[Cell], baselines: Sequence[Cell], entries: Entries, sections: Mapping[str, Sequence[Filled]]
) -> list[str]:
    table = cells[0].table
    metric = "Top-1 error" if table.metric == "top1_error" else "Top-1 accuracy"
    direction = "lower is better" if table.metric == "top1_error" else "higher is better"
    notes = [
        f"{metric} in percent, {direction}; ours: mean ± sample standard deviation over n seeds, after the last epoch.",
        "'Best on test' picks its epoch by the test images, which most papers of the field report: it is optimistic.",
    ]
    if baselines:
        notes.append(
            f"Differences are to the row {baselines[0].row.label!r} of the same column, in points; ours pair seeds."
        )
    if any(cell.own for cell in cells):
        column = cells[0].column.title
        notes.append(
            "The numbers of the paper and its repository are a reference only: they are of another data set or another "
            f"number of epochs ({column})."
        )
    elif any(item.newest is not None or item.older is not None for part in sections.values() for item in part):
        notes.append(
            "Repository: the newest result table is of the subset of cao2019ldam, as ours; the older one and the paper "
            "are of that of cui2019class."
        )
    shared = sum(item.shared for section in sections.values() for item in section)
    if shared:
        notes.append(
            f"{shared} results went on from first stages that were trained for another recipe with the same seed; that "
            "changes no number, and pairs the comparison."
        )
    unique = {cell.recipe.hash: cell.recipe for cell in cells if cell.recipe is not None}
    for recipe in unique.values():
        kept = entries.other_versions(recipe)
        if kept:
            notes.append(f"{recipe.name} on {recipe.data.name}: {kept} results of other versions are kept, not shown.")
    if table.note:
        notes.append(table.note)
    notes += [f"{row.label}: {row.note}" for row in dict.fromkeys(cell.row for cell in cells) if row.note]
    return [*notes, *(f"damaged and left out, run it again: {line}" for line in entries.damaged)]
