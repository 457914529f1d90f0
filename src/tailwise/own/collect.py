"""From what a user has (class folders, a list, a table) to one row for each image."""

from __future__ import annotations

import csv
import hashlib
import io
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tailwise.core.errors import DataError
from tailwise.data.folder import EXTENSIONS
from tailwise.data.lists import read_list
from tailwise.data.open import suggest_path
from tailwise.data.tables import (
    IMAGE_COLUMNS,
    LABEL_COLUMNS,
    SPLIT_COLUMNS,
    SUFFIXES,
    as_names,
    class_names,
    find_column,
    read_columns,
)
from tailwise.deliver.images import find_images
from tailwise.engine.checkpoint import write_error

#: Folder names that are splits and not classes.
SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


@dataclass(frozen=True)
class Examples:
    """Labelled images, one row each.

    Attributes:
        root: The folder that the paths start from.
        paths: Relative, with forward slashes.
        labels: Class names.
        splits: ``train``, ``val`` or ``test`` of each image; all ``train`` where the user named none.
        groups: Of each image, or None.
    """

    root: Path
    paths: tuple[str, ...]
    labels: tuple[str, ...]
    splits: tuple[str, ...]
    groups: tuple[str, ...] | None = None

    @property
    def class_names(self) -> tuple[str, ...]:
        """In label order."""
        return class_names(self.labels)

    @property
    def numbers(self) -> NDArray[np.int64]:
        """Labels as numbers, int64 ``[N]``."""
        label_of = {name: label for label, name in enumerate(self.class_names)}
        return np.array([label_of[name] for name in self.labels], dtype=np.int64)

    def save(self, file: Path) -> None:
        """Writes the table that the data set ``table`` reads, at once or not at all.

        Raises:
            RunError: The folder cannot be written.
        """
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["image", "label", "split"])
        writer.writerows(zip(self.paths, self.labels, self.splits, strict=True))
        partial = file.with_name(f".{file.name}.partial")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            partial.write_text(text.getvalue(), encoding="utf-8")
            os.replace(partial, file)
        except (OSError, UnicodeEncodeError) as error:
            raise write_error(error, file.parent) from error


def collect(
    source: Path,
    extracted: Path,
    *,
    root: Path | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    group_column: str | None = None,
    group_regex: str | None = None,
) -> Examples:
    """Reads a user's data; no image is looked into.

    Args:
        source: A folder ``<class>/images``, or ``train/<class>/images`` with ``val/`` or ``test/`` or both; a list
            file; a CSV or Parquet table.
        extracted: Where images that a table holds as bytes are written.
        root: The folder that the paths of a list or table start from (default: its own).
        image_column: Of paths or bytes; by its usual names when not given.
        label_column: Of class names or numbers; likewise.
        group_column: Of groups.
        group_regex: Its first group (or the whole match) in an image's relative path is the image's group.

    Raises:
        DataError: Whatever is wrong with the data or the options; fewer than two classes.
    """
    path = source.expanduser()
    if group_column is not None and (group_regex is not None or path.suffix.lower() not in SUFFIXES):
        raise DataError(
            "--group-column names a column of a table, --group-regex finds groups in paths; give one of them"
        )
    if path.is_dir():
        found = _from_folder(path)
    elif not path.exists():
        raise DataError(f"{path}: no such folder, list or table{suggest_path(path)}")
    elif path.suffix.lower() in SUFFIXES:
        found = _from_table(path, root or path.parent, extracted, image_column, label_column, group_column)
    else:
        pool = read_list(path, root or path.parent, "train")
        labels = tuple(pool.class_names[label] for label in pool.labels)
        found = Examples(root or path.parent, pool.paths or (), labels, ("train",) * len(pool))
    if len(set(found.labels)) < 2:
        raise DataError(f"{path}: {len(set(found.labels))} classes; at least 2 are needed")
    bad = next((name for name in found.paths if not name.isprintable()), None)
    if bad is not None:
        raise DataError(f"{path}: the file name {bad!r} has characters that no table can hold; rename it")
    return found if group_regex is None else replace(found, groups=_by_regex(found.paths, group_regex))


def _from_folder(base: Path) -> Examples:
    subfolders = sorted(item.name for item in base.iterdir() if item.is_dir() and not item.name.startswith("."))
    splits = {name: SPLITS[name.lower()] for name in subfolders if name.lower() in SPLITS}
    if "train" not in splits.values():
        splits = {"": "train"}
    rows: list[tuple[str, str, str]] = []
    for folder, split in splits.items():
        at = base / folder
        classes = sorted(item.name for item in at.iterdir() if item.is_dir() and not item.name.startswith("."))
        for name in classes:
            try:
                images = find_images([at / name])
            except DataError:
                continue  # a class folder without images is no class; classes of other splits are compared below
            rows += [(image.relative_to(base).as_posix(), name, split) for image in images]
    if not rows:
        known = ", ".join(EXTENSIONS)
        raise DataError(
            f"{base}: no images in class folders; needed: {base.name}/<class>/images or "
            f"{base.name}/train/<class>/images (known extensions: {known})"
        )
    _same_classes(base, rows)
    paths, labels, of_rows = zip(*rows, strict=True)
    return Examples(base, paths, labels, of_rows)


def _from_table(
    file: Path, root: Path, extracted: Path, image: str | None, label: str | None, group: str | None
) -> Examples:
    columns = read_columns(file)
    images = columns[find_column(file, columns, image, IMAGE_COLUMNS, "images")]
    labels = as_names(file, columns[find_column(file, columns, label, LABEL_COLUMNS, "labels")])
    groups = None
    if group is not None:
        groups = tuple(str(value) for value in columns[find_column(file, columns, group, (), "groups")])
    split = next((name for name in columns if name.lower() in SPLIT_COLUMNS), None)
    splits = ["train"] * len(labels) if split is None else [_split(file, value) for value in columns[split]]
    if "train" not in splits:
        raise DataError(f"{file}: no row of the split train; found: {', '.join(sorted(set(splits)))}")
    if any(isinstance(item, bytes | dict) for item in images):
        paths, root = [_extract(file, number, item, extracted) for number, item in enumerate(images)], extracted
    else:
        paths = [_path(file, number, item) for number, item in enumerate(images, start=1)]
    _same_classes(file, list(zip(paths, labels, splits, strict=True)))
    return Examples(root, tuple(paths), tuple(labels), tuple(splits), groups)


def _split(file: Path, value: Any) -> str:
    found = SPLITS.get(str(value).lower())
    if found is None:
        raise DataError(f"{file}: split {value!r} is not one of {', '.join(sorted(SPLITS))}")
    return found


def _path(file: Path, number: int, item: Any) -> str:
    if not isinstance(item, str) or not item.strip():
        raise DataError(f"{file}: image {number} of the table is neither a path nor bytes, got {type(item).__name__}")
    return item


def _extract(file: Path, number: int, item: Any, to: Path) -> str:
    """Writes an image that a table holds under a name that its bytes decide; the same table gives the same names."""
    content = item.get("bytes") if isinstance(item, dict) else item
    if not isinstance(content, bytes):
        raise DataError(f"{file}: image {number + 1} of the table holds no bytes")
    name = f"{number:07d}-{hashlib.sha256(content).hexdigest()[:12]}.image"
    if not (to / name).exists():
        partial = to / f".{name}.partial"
        try:
            to.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(content)
            os.replace(partial, to / name)
        except OSError as error:
            raise write_error(error, to) from error
    return name


def _same_classes(source: Path, rows: list[tuple[str, str, str]]) -> None:
    trained = {label for _, label, split in rows if split == "train"}
    extra = sorted({label for _, label, split in rows if split != "train"} - trained)
    if extra:
        raise DataError(f"{source}: classes without an image in train: {', '.join(map(repr, extra[:8]))}")


def _by_regex(paths: tuple[str, ...], pattern: str) -> tuple[str, ...]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise DataError(f"--group-regex {pattern!r} is not a regular expression: {error}") from error
    groups: list[str] = []
    for path in paths:
        match = compiled.search(path)
        if match is None:
            raise DataError(f"--group-regex {pattern!r} finds no group in {path!r}")
        groups.append(match[1] if compiled.groups and match[1] is not None else match[0])
    return tuple(groups)
