"""CSV and Parquet tables with a row for each image: its path, its label and, where there is one, its split."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tailwise.core.errors import DataError, suggest
from tailwise.core.registry import register
from tailwise.data.open import Splits, suggest_path
from tailwise.data.pool import Pool

SUFFIXES = (".csv", ".tsv", ".parquet")
#: Names under which columns are found when none is given, in lower case.
IMAGE_COLUMNS = ("image", "path", "image_path", "file", "file_name", "filename", "filepath", "img")
LABEL_COLUMNS = ("label", "class", "label_name", "class_name", "category", "target", "species")
SPLIT_COLUMNS = ("split", "subset", "fold")

#: Column name -> values of all rows.
Columns = dict[str, list[Any]]


@register("table", kind="datasets")
def table(
    *,
    location: Path | None = None,
    root: Path | None = None,
    eval_split: str = "auto",
    eval_list: Path | None = None,
) -> Splits:
    """A CSV or Parquet table with a column of paths, one of labels and one of splits (train, val, test).

    Columns are found by their usual names. A table without splits, or with the images themselves, is for
    ``tailwise fit``.

    Args:
        location: The table.
        root: The folder that the paths start from (default: the table's folder).
        eval_split: ``"test"``, ``"val"`` or ``"auto"`` (test if there is one, else val).
        eval_list: Not taken.

    Raises:
        DataError: A missing or malformed table, no column that fits, or a split without images.
    """
    if location is None:
        raise DataError("data set 'table' needs a CSV or Parquet file")
    if eval_list is not None:
        raise DataError("data set 'table' takes no eval_list; the split of an image stands in the table")
    file = location.expanduser()
    columns = read_columns(file)
    images = columns[find_column(file, columns, None, IMAGE_COLUMNS, "images")]
    labels = as_names(file, columns[find_column(file, columns, None, LABEL_COLUMNS, "labels")])
    splits = [str(value).lower() for value in columns[find_column(file, columns, None, SPLIT_COLUMNS, "splits")]]
    wanted = ("test", "val") if eval_split == "auto" else (eval_split,)
    evaluated = next((split for split in wanted if split in splits), None)
    if "train" not in splits or evaluated is None:
        raise DataError(
            f"{file}: rows of the splits train and {' or '.join(wanted)} are needed, "
            f"found: {', '.join(sorted(set(splits))[:8])}"
        )
    if not all(isinstance(image, str) for image in images):
        raise DataError(f"{file}: its images are not paths; `tailwise fit {file}` reads images out of a table")
    names = class_names(labels)
    base = file.parent if root is None else root.expanduser()
    return Splits(*(_pool(file, base, split, splits, images, labels, names) for split in ("train", evaluated)))


def is_table(file: Path) -> bool:
    """Whether a file is Parquet, or a CSV or TSV whose first line names a column of images; a list may end in .csv."""
    suffix = file.suffix.lower()
    if suffix == ".parquet" or suffix not in SUFFIXES:
        return suffix == ".parquet"
    try:
        with file.open(encoding="utf-8-sig") as lines:
            head = lines.readline(10_000)
    except (OSError, UnicodeDecodeError):
        return False
    return any(name.strip(' "').lower() in IMAGE_COLUMNS for name in re.split(r"[,\t]", head.strip()))


def read_columns(file: Path) -> Columns:
    """Every column of a table, values as text (CSV, TSV) or as they are stored (Parquet).

    Raises:
        DataError: No such file, not a table, a row with too few or too many fields, no rows, or no pyarrow for Parquet.
    """
    if not file.is_file():
        raise DataError(f"{file}: no such table{suggest_path(file)}")
    if file.suffix.lower() == ".parquet":
        return _read_parquet(file)
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            rows = list(csv.reader(lines, delimiter="\t" if file.suffix.lower() == ".tsv" else ",", strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file}: cannot be read as a table: {error}") from error
    head, *body = rows or [[]]
    numbered = [(number, row) for number, row in enumerate(body, start=2) if row]
    if not head or not numbered:
        raise DataError(f"{file}: an empty table; the first line names the columns, each other line is an image")
    if len(set(head)) < len(head):
        raise DataError(f"{file}: two columns have the same name: {', '.join(head)}")
    for number, row in numbered:
        if len(row) != len(head):
            raise DataError(f"{file}, row {number}: {len(row)} fields, and the first line names {len(head)} columns")
    return {name: [row[at] for _, row in numbered] for at, name in enumerate(head)}


def find_column(file: Path, columns: Columns, given: str | None, usual: Sequence[str], what: str) -> str:
    """The name of a column: the given one, or the first of the usual names that the table has.

    Raises:
        DataError: It has none; the columns are listed and the nearest is offered.
    """
    by_lower = {name.lower(): name for name in columns}
    found = given if given in columns else None
    if given is None:
        found = next((by_lower[name] for name in usual if name in by_lower), None)
    if found is not None:
        return found
    if given is not None:
        raise DataError(f"{file}: no column {given!r}{suggest(given, columns)}; columns: {', '.join(columns)}")
    raise DataError(
        f"{file}: no column of {what} (looked for {', '.join(usual)}); columns: {', '.join(columns)}. Name it"
    )


def as_names(file: Path, labels: Iterable[Any]) -> list[str]:
    """Labels as class names.

    Raises:
        DataError: A row without a label.
    """
    names: list[str] = []
    for number, label in enumerate(labels, start=1):
        missing = label is None or (isinstance(label, float) and np.isnan(label)) or not str(label).strip()
        if missing:
            raise DataError(f"{file}: image {number} of the table has no label")
        names.append(str(int(label)) if isinstance(label, float) and label.is_integer() else str(label).strip())
    return names


def class_names(labels: Iterable[str]) -> tuple[str, ...]:
    """The different labels, as numbers in their order when all are whole numbers, else as text in theirs."""
    names = set(labels)
    if all(re.fullmatch(r"-?\d+", name) for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


def _pool(
    file: Path, base: Path, split: str, splits: list[str], images: list[Any], labels: list[str], names: tuple[str, ...]
) -> Pool:
    label_of = {name: label for label, name in enumerate(names)}
    rows = [row for row, of_row in enumerate(splits) if of_row == split]
    numbers = np.array([label_of[labels[row]] for row in rows], dtype=np.int64)
    return Pool(file.stem, split, names, numbers, paths=tuple(images[row] for row in rows), root=base)


def _read_parquet(file: Path) -> Columns:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise DataError(
            f"{file}: reading Parquet needs pyarrow; install it with: pip install 'tailwise[parquet]'"
        ) from error
    try:
        columns: Columns = parquet.read_table(file).to_pydict()
    except (OSError, ArrowException) as error:
        raise DataError(f"{file}: cannot be read as Parquet: {str(error).splitlines()[0]}") from error
    if not columns or not next(iter(columns.values())):
        raise DataError(f"{file}: an empty table")
    return columns
