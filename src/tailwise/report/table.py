"""Recipes side by side: mean and spread over seeds, and the paired difference to the first."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table as RichTable
from rich.text import Text

from tailwise.core.errors import DataError
from tailwise.evaluation.shots import GROUPS, SHOT_PROTOCOLS
from tailwise.report.ledger import Result, one_per_seed, with_posthoc

MINUS = "\N{MINUS SIGN}"
NOTHING = "\N{EN DASH}"


@dataclass(frozen=True)
class Statistic:
    """Mean over seeds and sample standard deviation (``ddof=1``; ``None`` with a single seed)."""

    mean: float
    std: float | None
    n: int

    def show(self, digits: int = 1, *, sign: bool = False) -> str:
        """``"55.1 ± 0.3"``, or ``"55.1"`` with one seed."""
        mean = f"{self.mean:{'+' if sign else ''}z.{digits}f}".replace("-", MINUS)
        return mean if self.std is None else f"{mean} ± {self.std:.{digits}f}"


@dataclass(frozen=True)
class Column:
    """A column: its key, its heading with the unit (and a short one), digits, and which direction is better."""

    key: str
    title: str
    digits: int = 1
    better: int = 1
    sign: bool = False
    short: str = ""


@dataclass(frozen=True)
class Row:
    """One recipe: its name, its seeds and a statistic per column (``None`` where there is none)."""

    name: str
    seeds: tuple[int, ...]
    cells: Mapping[str, Statistic | None]


@dataclass(frozen=True)
class Table:
    """What the renderers print; ``notes`` say what was selected and what has to be known to read the numbers."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]

    def text(self, row: Row, column: Column) -> str:
        """The text of one cell; the difference carries its number of pairs where a seed has no partner."""
        cell = row.cells.get(column.key)
        if cell is None:
            return NOTHING
        pairs = f" (n={cell.n})" if column.key == "difference" and cell.n != len(row.seeds) else ""
        return cell.show(column.digits, sign=column.sign) + pairs

    def best(self, column: Column) -> frozenset[str]:
        """Names of the rows with the best printed mean; none when there is nothing to compare."""
        shown = {row.name: round(cell.mean, column.digits) for row in self.rows if (cell := row.cells.get(column.key))}
        if len(shown) < 2 or column.better == 0:
            return frozenset()
        top = max(value * column.better for value in shown.values())
        return frozenset(name for name, value in shown.items() if value * column.better == top)


def compare_table(groups: Mapping[str, Sequence[Result]]) -> Table:
    """Compares recipes on the evaluation that each recipe selects.

    Changes of the classifier are rows of their own below their recipe.

    Args:
        groups: Name -> results that differ in the seed only; the first one is the reference of the differences. Of
            several results with one seed the newest counts.

    Raises:
        DataError: Nothing to compare, or the results are not about the same classes.
    """
    groups = with_posthoc(groups)
    chosen = {name: one_per_seed(results) for name, results in groups.items() if results}
    check_comparable(chosen)
    reference = next(iter(chosen))
    first = chosen[reference][0]
    shots = first.shots
    unbalanced = any(
        abs((result.selected["top1"] or 0) - (result.selected["balanced_accuracy"] or 0)) > 0.005
        for results in chosen.values()
        for result in results
    )
    named = reference if len(reference) <= 24 else f"{reference[:23]}\N{HORIZONTAL ELLIPSIS}"
    columns = (
        Column("top1", "top-1 (%)"),
        *((Column("balanced_accuracy", "balanced (%)"),) if unbalanced else ()),
        *(Column(group, f"{group} (%)") for group in GROUPS),
        Column("harmonic_mean", "harmonic mean (%)"),
        Column("worst_class", "worst class (%)"),
        Column("ece", "ECE (%)", better=-1),
        Column("nll", "NLL (nats)", digits=3, better=-1),
        *(
            (
                Column(
                    "difference",
                    f"top-1 {MINUS} {named} (points)",
                    better=0,
                    sign=True,
                    short=f"top-1 {MINUS} first (points)",
                ),
            )
            if len(chosen) > 1
            else ()
        ),
        Column("best_on_test", "best epoch on test, top-1 (%)", better=0),
        *(
            (
                Column("images_per_step", "images a step", digits=0, better=0),
                Column("epoch_seconds", "time an epoch (s)", digits=2, better=0),
            )
            if _costs_differ(chosen)
            else ()
        ),
        Column("seconds", "time (s)", digits=0, better=0),
    )
    rows = tuple(_row(name, results, chosen[reference], shots) for name, results in chosen.items())
    return Table(columns, rows, tuple(_notes(chosen, groups, shots, unbalanced=unbalanced)))


def _costs_differ(chosen: Mapping[str, Sequence[Result]]) -> bool:
    """Whether a step of one recipe shows the network more images than a step of another."""
    costs = [result.images_per_step for results in chosen.values() for result in results]
    return len({cost for cost in costs if cost is not None}) > 1


def check_comparable(groups: Mapping[str, Sequence[Result]]) -> None:
    """Refuses results of different classes.

    Raises:
        DataError: No result, or different class names.
    """
    results = [result for row in groups.values() for result in row]
    if not results:
        raise DataError("there is no finished run to report")
    for result in results[1:]:
        if result.class_names != results[0].class_names:
            raise DataError(
                f"{results[0].folder} and {result.folder} are about different classes "
                f"({len(results[0].class_names)} and {len(result.class_names)}) and cannot share a table"
            )


def statistic(values: Sequence[float | None]) -> Statistic | None:
    """Mean and sample standard deviation of the values that are there."""
    known = [float(value) for value in values if value is not None and math.isfinite(value)]
    if not known:
        return None
    return Statistic(float(np.mean(known)), float(np.std(known, ddof=1)) if len(known) > 1 else None, len(known))


#: Columns in the order in which a narrow terminal keeps them.
IMPORTANCE = ("top1", "difference", "few", "many", "medium", "balanced_accuracy", "images_per_step", "epoch_seconds",
              "seconds", "harmonic_mean", "worst_class", "ece", "nll", "best_on_test")  # fmt: skip


def to_rich(table: Table, width: int | None = None) -> Group:
    """The table for a terminal.

    Args:
        table: What to show.
        width: Characters of the terminal; the least important columns that do not fit are left out, which a note
            says. ``None`` shows every column.
    """
    columns = table.columns if width is None else _fitting(table, width)
    notes = list(table.notes)
    if len(columns) < len(table.columns):
        missing = ", ".join(column.title for column in table.columns if column not in columns)
        notes.insert(0, f"Not shown here for lack of width: {missing}.")
    rich = RichTable(
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_edge=False,
    )
    rich.add_column("recipe", no_wrap=True)
    rich.add_column("seeds", justify="right")
    for column in columns:
        rich.add_column(Text(column.short or column.title), justify="right", min_width=_widest(table, column))
    for row in table.rows:
        cells = [
            Text(table.text(row, column), style="bold" if row.name in table.best(column) else "") for column in columns
        ]
        rich.add_row(Text(row.name), str(len(row.seeds)), *cells)
    return Group(rich, Text("\n".join(notes), style="dim"))


def _widest(table: Table, column: Column) -> int:
    """Characters that a column cannot do without: a heading wraps at blanks, a number does not."""
    words = (column.short or column.title).split()
    return max(*(len(table.text(row, column)) for row in table.rows), *(len(word) for word in words), 1)


def _fitting(table: Table, width: int) -> tuple[Column, ...]:
    left = width - max(len("recipe"), *(len(row.name) for row in table.rows)) - len("seeds") - 3
    kept: list[Column] = []
    for column in sorted(table.columns, key=lambda column: IMPORTANCE.index(column.key)):
        need = 2 + _widest(table, column)
        if kept and need > left:
            break
        left -= need
        kept.append(column)
    return tuple(column for column in table.columns if column in kept)


def to_markdown(table: Table) -> str:
    """The table as GitHub Markdown, the notes below it."""
    head = ["recipe", "seeds", *(column.title for column in table.columns)]
    lines = [_markdown_row(head), _markdown_row(["---", *["---:"] * (len(head) - 1)])]
    for row in table.rows:
        cells = [table.text(row, column) for column in table.columns]
        lines.append(_markdown_row([row.name, str(len(row.seeds)), *cells]))
    return "\n".join([*lines, "", *(f"{note}  " for note in table.notes)]).rstrip() + "\n"


def to_csv(table: Table) -> str:
    """The table as CSV with full precision: mean, standard deviation and number of values of every column."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    parts = ("mean", "std", "n")
    writer.writerow(["recipe", "seeds", *(f"{column.title} {part}" for column in table.columns for part in parts)])
    for row in table.rows:
        values: list[object] = [row.name, " ".join(map(str, row.seeds))]
        for column in table.columns:
            cell = row.cells.get(column.key)
            values += ["", "", 0] if cell is None else [cell.mean, "" if cell.std is None else cell.std, cell.n]
        writer.writerow(values)
    return buffer.getvalue()


def _row(name: str, results: Sequence[Result], reference: Sequence[Result], shots: str) -> Row:
    cells: dict[str, Statistic | None] = {
        key: statistic([result.selected.get(key) for result in results])
        for key in ("top1", "balanced_accuracy", "harmonic_mean", "worst_class", "ece", "nll")
    }
    by_group = [result.groups(shots) for result in results]
    for group in GROUPS:
        cells[group] = statistic([groups[group]["accuracy"] for groups in by_group])
    if results is not reference:
        base = {result.seed: result.selected["top1"] for result in reference}
        pairs = [result.selected["top1"] - base[result.seed] for result in results if result.seed in base]
        cells["difference"] = statistic(pairs)
    cells["best_on_test"] = statistic([result.best_on_test["top1"] for result in results if result.best_on_test])
    cells["seconds"] = statistic([result.seconds for result in results])
    images = statistic([result.images_per_step for result in results])
    # It is a number of the recipe, not of the seed.
    cells["images_per_step"] = None if images is None else Statistic(images.mean, None, images.n)
    cells["epoch_seconds"] = statistic([result.epoch_seconds for result in results])
    return Row(name, tuple(result.seed for result in results), cells)


def _notes(
    chosen: Mapping[str, Sequence[Result]], groups: Mapping[str, Sequence[Result]], shots: str, *, unbalanced: bool
) -> list[str]:
    results = [result for row in chosen.values() for result in row]
    words = {"last": "the last epoch", "best_on_test": "the best epoch on the test set"}
    selections = {name: sorted({words[result.select] for result in row}) for name, row in chosen.items()}
    if len({tuple(value) for value in selections.values()}) == 1 and all(len(v) == 1 for v in selections.values()):
        spread = (
            "; mean ± sample standard deviation over the seeds" if len(results) > len(chosen) else ", one seed each"
        )
        notes = [f"Numbers are those of {words[results[0].select]}{spread}."]
    else:
        each = "; ".join(f"{name}: {' and '.join(value)}" for name, value in selections.items())
        notes = [f"Numbers are those of different selections ({each}): compare with care."]
    notes.append("The column 'best epoch on test' picks its epoch by the test set and is optimistic.")
    sizes = ", ".join(f"{name} {group['classes']}" for name, group in results[0].groups(shots).items())
    rank = "by rank" if SHOT_PROTOCOLS[shots].rule.startswith("by rank") else SHOT_PROTOCOLS[shots].rule
    notes.append(f"Classes a group: {sizes} (protocol {shots}, {rank}).")
    if unbalanced:
        notes.append("The test set is not balanced: 'balanced' is the mean of the class accuracies.")
    if _costs_differ(chosen):
        notes.append(
            "'images a step' counts every image that goes through the network, those of auxiliary tasks too, averaged "
            "over the steps of all stages: rows with more of them cost more at equal epochs."
        )
    if any(result.changed is not None for result in results):
        notes.append("A row 'recipe + change' is the recipe's own network with its classifier changed after training.")
    first, *others = ({result.seed for result in row} for row in chosen.values())
    if any(first & seeds for seeds in others):
        notes.append("Differences are paired: same seed against same seed.")
    elif others:
        notes.append("No recipe shares a seed with the first, so there are no paired differences.")
    others = sorted({result.shots for result in results} - {shots})
    if others:
        notes.append(f"Results recorded under protocol {', '.join(others)} were regrouped under {shots}.")
    if len({tuple(result.class_counts.tolist()) for result in results}) > 1:
        notes.append("The recipes were trained on different class sizes: the groups are not the same classes.")
    for name, row in chosen.items():
        if len({result.recipe_hash for result in row}) > 1:
            notes.append(f"{name}: its seeds were trained with different settings.")
        spare = len(groups[name]) - len(row)
        if spare:
            notes.append(f"{name}: {spare} older {'result' if spare == 1 else 'results'} of the same seed left out.")
    return notes


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"
