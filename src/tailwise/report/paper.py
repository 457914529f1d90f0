"""A table of a paper as data: what each row trains, and the numbers that the paper and its repository print."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from tailwise.core.errors import TailwiseError, UnknownName
from tailwise.engine.recipe import Recipe

if TYPE_CHECKING:
    from tailwise.recipes.base import RecipeFunction

#: paper: as printed; official: as the authors' code runs.
Variant = Literal["paper", "official"]
#: Which classes a column counts: all of them, or a shot group under the table's rule.
Measure = Literal["all", "many", "medium", "few"]
#: One number for each column; None where the paper prints none.
Numbers = tuple[float | None, ...]


@dataclass(frozen=True)
class Column:
    """A setting in which all rows of a table are measured.

    Args:
        key: Its name, for example ``cifar10-lt-100``.
        title: For people.
        base: The base settings of a variant.
        measure: Which classes are counted. Columns that differ in nothing else share their base settings, and so their
            runs.
    """

    key: str
    title: str
    base: Callable[[Variant], Recipe]
    measure: Measure = "all"


@dataclass(frozen=True)
class Row:
    """A line of a table.

    Args:
        name: Its key in the table.
        label: As the paper prints it.
        paper: What it trains, as printed; None for numbers that the paper cites from elsewhere.
        expected: The paper's numbers, one for each column.
        official: What the authors' code trains; None where they published no code for the row.
        repository: The numbers of the repository's newest result table, measured on the subset of cao2019ldam, which is
            also ours; None where it has none.
        repository_old: Those of its older table, measured on the subset of cui2019class like the paper's.
        note: What the paper leaves open, or what is ours.
    """

    name: str
    label: str
    paper: RecipeFunction | None
    expected: Numbers
    official: RecipeFunction | None = None
    repository: Numbers | None = None
    repository_old: Numbers | None = None
    note: str = ""

    @property
    def variants(self) -> tuple[Variant, ...]:
        """The variants that can be trained."""
        return tuple(variant for variant in get_args(Variant) if getattr(self, variant) is not None)


@dataclass(frozen=True)
class Table:
    """A table of a paper.

    Args:
        paper: Key in ``docs/references.bib``.
        name: What its recipes are called by, for example ``bag-of-tricks/table8``.
        number: Its number in the paper.
        title: What it compares.
        columns: The settings.
        rows: The lines.
        metric: What the numbers are, in percent; ``top1_error`` is 100 minus top-1 accuracy.
        note: What concerns all rows.

    Raises:
        ValueError: Equal names of rows or columns, or a row with more or fewer numbers than columns.
    """

    paper: str
    name: str
    number: int
    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    metric: Literal["top1_error", "top1_accuracy"] = "top1_error"
    note: str = ""

    def __post_init__(self) -> None:
        """Checks names and numbers."""
        for kind, names in (
            ("rows", [row.name for row in self.rows]),
            ("columns", [column.key for column in self.columns]),
        ):
            if len(set(names)) < len(names):
                raise ValueError(f"{self.name} has two {kind} of one name: {', '.join(names)}")
        for row in self.rows:
            for numbers in (row.expected, row.repository, row.repository_old):
                if numbers is not None and len(numbers) != len(self.columns):
                    wanted = len(self.columns)
                    raise ValueError(f"{self.name}/{row.name} has {len(numbers)} numbers for {wanted} columns")

    def row(self, name: str) -> Row:
        """The row of that name.

        Raises:
            UnknownName: No such row; the nearest is offered.
        """
        found = next((row for row in self.rows if row.name == name), None)
        if found is None:
            raise UnknownName(f"row of {self.name}", name, [row.name for row in self.rows])
        return found

    def column(self, key: str) -> Column:
        """The column of that key.

        Raises:
            UnknownName: No such column; the nearest is offered.
        """
        found = next((column for column in self.columns if column.key == key), None)
        if found is None:
            raise UnknownName(f"column of {self.name}", key, [column.key for column in self.columns])
        return found

    def function(self, name: str, variant: Variant = "paper") -> RecipeFunction:
        """From base settings to the recipe of a row.

        Raises:
            UnknownName: No such row.
            TailwiseError: The row cannot be trained, or not in this variant.
        """
        row = self.row(name)
        found = {"paper": row.paper, "official": row.official}[variant]
        if row.paper is None:
            raise TailwiseError(f"{self.name}/{name} holds numbers that the paper cites; there is nothing to train")
        if found is None:
            raise TailwiseError(f"the authors published no code for {self.name}/{name}; train its variant paper")
        return found

    def recipe(self, name: str, column: str, variant: Variant = "paper") -> Recipe:
        """The complete recipe of a cell.

        Raises:
            UnknownName: No such row or column.
            TailwiseError: As :meth:`function`.
        """
        function = self.function(name, variant)
        recipe = function(self.column(column).base(variant))
        return dataclasses.replace(recipe, name=f"{self.name}/{recipe_name(name, variant)}", variant=variant)

    def named(self, text: str) -> tuple[str, RecipeFunction]:
        """The full name and the function of a row by its name, with ``-official`` behind it for that variant.

        Raises:
            UnknownName: No such row.
            TailwiseError: As :meth:`function`.
        """
        names = [recipe_name(row.name, variant) for row in self.rows for variant in get_args(Variant)]
        if text not in names:
            raise UnknownName(f"row of {self.name}", text, names)
        variant: Variant = "paper" if text in [row.name for row in self.rows] else "official"
        function = self.function(text.removesuffix("-official") if variant == "official" else text, variant)

        def labelled(base: Recipe) -> Recipe:
            return dataclasses.replace(function(base), variant="own" if base.variant == "own" else variant)

        return f"{self.name}/{text}", labelled

    def names(self) -> list[str]:
        """What :func:`tailwise.recipes.base.make_recipe` calls the rows, ``-official`` behind those of that variant."""
        return [f"{self.name}/{recipe_name(row.name, variant)}" for row in self.rows for variant in row.variants]


def recipe_name(row: str, variant: Variant) -> str:
    """The row's name, with the variant behind it when it is not ``paper``."""
    return row if variant == "paper" else f"{row}-{variant}"
