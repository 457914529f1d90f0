"""The cells of a paper's table that are asked for: which recipe each one trains, and what the paper prints there."""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tailwise.core.errors import TailwiseError, UnknownName
from tailwise.core.registry import REGISTRY
from tailwise.engine.recipe import Recipe
from tailwise.engine.rescale import with_epochs
from tailwise.report.paper import Column, Row, Table, Variant, recipe_name


@dataclass(frozen=True)
class Cell:
    """One number of a table.

    Attributes:
        table: The table.
        row: The line.
        column: The setting that is printed above it.
        variant: As printed, or as the authors' code runs.
        recipe: What is trained, with seed 0; columns that count different classes may share it. None for a number that
            the paper cites, or a row whose code was never published.
        own: Whether it is trained on other data, or for another number of epochs, than the paper's.
        command: What a person types to make it.
    """

    table: Table
    row: Row
    column: Column
    variant: Variant
    recipe: Recipe | None
    own: bool
    command: str

    def printed(self, numbers: tuple[float | None, ...] | None) -> float | None:
        """The number of this cell among those of its row."""
        return None if numbers is None else numbers[self.table.columns.index(self.column)]


@dataclass(frozen=True)
class Wish:
    """What of a table to make.

    Attributes:
        rows: Names; empty: all.
        columns: Keys; empty: all.
        variant: As printed, or as the authors' code runs.
        data: A data set or path of one's own in place of the columns.
        root: Where the files of the data lie.
        train_list: The training list of columns that read list files.
        epochs: Compress or stretch every recipe to so many.
    """

    rows: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    variant: Variant = "paper"
    data: str | None = None
    root: str | None = None
    train_list: str | None = None
    epochs: int | None = None


def all_tables() -> list[Table]:
    """Every registered table, by paper and number."""
    tables: list[Table] = [entry.target() for entry in REGISTRY.entries("tables")]
    return sorted(tables, key=lambda table: (table.name.partition("/")[0], table.number, table.name))


def find_table(name: str) -> Table:
    """The table that is called so, for example ``bag-of-tricks/table8``.

    Raises:
        UnknownName: No such table; the nearest is offered.
    """
    tables = {table.name: table for table in all_tables()}
    by_key = {key.replace("/", "-"): key for key in tables}
    found = tables.get(name) or tables.get(by_key.get(name.replace("/", "-").replace("_", "-"), ""))
    if found is None:
        raise UnknownName("table", name, tables)
    return found


def cells_of(table: Table, wish: Wish, own: Callable[[str], Recipe] | None = None) -> list[Cell]:
    """The cells that are wished for, column by column, and in each row by row.

    Args:
        table: The table.
        wish: Which part of it, and on what.
        own: With ``wish.data``: from a recipe's full name to the recipe on that data.

    Raises:
        UnknownName: No such row or column; the nearest is offered.
        TailwiseError: Columns together with data of one's own, or nothing that can be trained.
    """
    rows = [table.row(name) for name in dict.fromkeys(wish.rows)] or list(table.rows)
    if wish.data is not None and wish.columns:
        raise TailwiseError(
            f"--columns chooses among the paper's data sets, and --data {wish.data} takes their place; give one of them"
        )
    columns = [table.column(key) for key in dict.fromkeys(wish.columns)] or list(table.columns)
    if wish.data is not None:
        # Columns that differ in the data become one; those of shot groups stay.
        columns = list({column.measure: column for column in reversed(columns)}.values())[::-1]
    made = [
        Cell(table, row, column, wish.variant, _recipe(table, row, column, wish, own), _is_own(wish), "")
        for column in columns
        for row in rows
    ]
    if all(cell.recipe is None for cell in made):
        others = [row.name for row in table.rows if wish.variant in row.variants]
        raise TailwiseError(
            f"no row is left: {', '.join(row.name for row in rows)} of {table.name} cannot be trained in the variant "
            f"{wish.variant}; those that can: {', '.join(others) or 'none'}"
        )
    return [dataclasses.replace(cell, command=_command(cell, wish)) for cell in made]


def read_shard(text: str | None) -> tuple[int, int]:
    """``"3/8"`` as (3, 8); (1, 1) for None.

    Raises:
        TailwiseError: Not of that form, or out of range.
    """
    if text is None:
        return 1, 1
    found = re.fullmatch(r"\s*(\d+)\s*/\s*(\d+)\s*", text)
    if found is None:
        raise TailwiseError(f"--shard must be PART/PARTS, for example 3/8, got {text!r}")
    part, parts = int(found[1]), int(found[2])
    if not 1 <= part <= parts:
        raise TailwiseError(
            f"--shard {text}: the part must be from 1 to {max(parts, 1)}, and there must be one at least"
        )
    return part, parts


def shard_of(runs: Sequence[Recipe], part: int, parts: int) -> list[Recipe]:
    """One of several nearly equal stretches of a list, so that runs beside each other, which share stages, stay so.

    Raises:
        TailwiseError: No run is left for this part.
    """
    chosen = list(runs[len(runs) * (part - 1) // parts : len(runs) * part // parts])
    if not chosen:
        raise TailwiseError(f"--shard {part}/{parts} has nothing to do: there are {len(runs)} runs in all")
    return chosen


def runs_of(cells: Sequence[Cell], seeds: int) -> list[Recipe]:
    """Every run of some cells once: seed after seed of a column's rows.

    Raises:
        TailwiseError: Fewer than one seed.
    """
    if seeds < 1:
        raise TailwiseError(f"--seeds must be at least 1, got {seeds}")
    found: dict[tuple[str, int], Recipe] = {}
    for column in dict.fromkeys(cell.column.key for cell in cells):
        recipes = [cell.recipe for cell in cells if cell.column.key == column and cell.recipe is not None]
        for seed in range(seeds):
            for recipe in recipes:
                found.setdefault((recipe.hash, seed), dataclasses.replace(recipe, seed=seed))
    return list(found.values())


def _is_own(wish: Wish) -> bool:
    return wish.data is not None or wish.epochs is not None


def _recipe(table: Table, row: Row, column: Column, wish: Wish, own: Callable[[str], Recipe] | None) -> Recipe | None:
    if wish.variant not in row.variants:
        return None
    if wish.data is not None:
        assert own is not None
        return own(f"{table.name}/{recipe_name(row.name, wish.variant)}")
    recipe = table.recipe(row.name, column.key, wish.variant)
    data = recipe.data
    if data.name in ("folder", "list") and data.location is None:
        data = dataclasses.replace(data, location=wish.train_list)
    recipe = dataclasses.replace(recipe, data=dataclasses.replace(data, root=wish.root or data.root))
    return recipe if wish.epochs is None else with_epochs(recipe, wish.epochs)


def _command(cell: Cell, wish: Wish) -> str:
    words = ["tailwise", "reproduce", cell.table.name, "--rows", cell.row.name]
    if wish.data is None:
        words += ["--columns", cell.column.key]
    given = {
        "--variant": None if wish.variant == "paper" else wish.variant,
        "--data": wish.data,
        "--data-root": wish.root,
        "--train-list": wish.train_list,
        "--epochs": None if wish.epochs is None else str(wish.epochs),
    }
    return shlex.join([*words, *(word for name, value in given.items() if value for word in (name, value))])
