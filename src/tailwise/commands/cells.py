"""What `reproduce` and `report --table` share: the cells that options ask for, and where their images are."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from tailwise.commands.resolve import load_recipe
from tailwise.core.errors import DataError
from tailwise.engine.prepare import expected_data
from tailwise.engine.recipe import Data, Recipe
from tailwise.report.cells import Cell, Wish, cells_of, find_table
from tailwise.report.filled import Place
from tailwise.report.paper import Table

#: Where `reproduce` writes when no place is given.
DEFAULT_PLACE = Path("reproduced")


@dataclasses.dataclass(frozen=True)
class Chosen:
    """A table and the cells of it that are wished for.

    Attributes:
        table: The table.
        cells: Those wished for.
        baselines: Its first row that can be trained, in every column.
    """

    table: Table
    cells: tuple[Cell, ...]
    baselines: tuple[Cell, ...]


def choose(name: str, wish: Wish) -> Chosen:
    """The cells of a table that options ask for.

    Raises:
        UnknownName: No such table, row, column or data set; the nearest is offered.
        TailwiseError: Nothing that can be trained is left, or options that exclude each other.
    """
    table = find_table(name)
    cells = cells_of(table, wish, _own(wish))
    first = next((row.name for row in table.rows if wish.variant in row.variants), None)
    if first is None:
        return Chosen(table, tuple(cells), ())
    return Chosen(table, tuple(cells), tuple(cells_of(table, dataclasses.replace(wish, rows=(first,)), _own(wish))))


def find_places(cells: Sequence[Cell]) -> tuple[dict[str, Place], dict[str, str]]:
    """Looks for the images of every column.

    Returns:
        By the column's key: where they are, and, for those that are not there, why.
    """
    places: dict[str, Place] = {}
    missing: dict[str, str] = {}
    seen: dict[Data, Place | str] = {}
    for cell in cells:
        if cell.recipe is None or cell.column.key in places or cell.column.key in missing:
            continue
        data = cell.recipe.data
        if data not in seen:
            seen[data] = _look(data)
        found = seen[data]
        if isinstance(found, Place):
            places[cell.column.key] = found
        else:
            missing[cell.column.key] = found
    return places, missing


def known_places(cells: Sequence[Cell]) -> dict[str, Place]:
    """For a report: the images of the user's own columns; those of named data sets are told by the recipe alone."""
    own = [cell for cell in cells if cell.recipe is not None and cell.recipe.data.location is not None]
    return find_places(own)[0]


def absolute(path: Path | None) -> str | None:
    """A path option as recipes hold it."""
    return None if path is None else str(path.expanduser().resolve())


def words(text: str) -> tuple[str, ...]:
    """``"a, b"`` as ("a", "b")."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _look(data: Data) -> Place | str:
    if data.name in ("folder", "list") and data.location is None:
        return "its images are read from list files; give --train-list, and --data-root where the paths start"
    try:
        fingerprint, num_images = expected_data(data)
    except DataError as error:
        return str(error)
    location = None if data.location is None else str(Path(data.location).expanduser().resolve())
    return Place(fingerprint, location, num_images)


def _own(wish: Wish) -> Callable[[str], Recipe] | None:
    if wish.data is None:
        return None

    def own(name: str) -> Recipe:
        return load_recipe(name, data=wish.data, root=wish.root, epochs=wish.epochs)

    return own
