"""List files, one ``relative/path label`` per line, the form in which ImageNet-LT and Places-LT are distributed."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tailwise.core.errors import DataError, suggest
from tailwise.core.registry import register
from tailwise.data.index import Pool
from tailwise.data.open import Splits, suggest_path

#: Line number, path, label.
_Lines = list[tuple[int, str, str]]
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?")


@register("list", kind="datasets")
def list_files(
    *,
    location: Path | None = None,
    root: Path | None = None,
    eval_split: str = "auto",
    eval_list: Path | None = None,
) -> Splits:
    """Images named in list files: a training list and an evaluation list of "path label" lines.

    Args:
        location: The training list.
        root: The folder that the paths start from (default: the training list's folder).
        eval_split: Which evaluation list to look for beside the training list: ``"auto"`` takes test, then val.
        eval_list: The evaluation list (default: the training list's name with ``train`` replaced).

    Raises:
        DataError: A missing or malformed list (with file and line), labels with gaps, or a root without the images.
    """
    if location is None:
        raise DataError("data set 'list' needs the training list file")
    train_file = location.expanduser()
    base = train_file.parent if root is None else root.expanduser()
    if not base.is_dir():
        raise DataError(f"{base}: no such folder for the images of the list{suggest_path(base)}")
    train = read_list(train_file, base, "train")
    eval_file = _beside(train_file, eval_split) if eval_list is None else eval_list.expanduser()
    split = eval_split if eval_split != "auto" else ("val" if "val" in eval_file.name.lower() else "test")
    test = read_list(eval_file, base, split, class_names=train.class_names)
    for pool, file in ((train, train_file), (test, eval_file)):
        _look_for_images(pool, file)
    return Splits(train, test)


def read_list(path: Path, root: Path, split: str, class_names: tuple[str, ...] | None = None) -> Pool:
    """One list file as a pool; whether the images exist is not looked at.

    A line is a path, a tab or spaces, and a label; the path may contain spaces, and after a tab so may the label.
    Labels are whole numbers 0..C-1 without gaps when the first one is a number, and class names otherwise.

    Args:
        path: The list file, UTF-8.
        root: The folder that the paths start from.
        split: The pool's split.
        class_names: The classes of the training list. ``None`` takes the labels of this list: ``"0"`` to ``"C-1"``, or
            the sorted names.

    Raises:
        DataError: No such file, a line without a path and a label, a label that does not fit, or fewer than two
            classes; the message names file and line.
    """
    lines = _read(path)
    first = lines[0][2]
    numeric = bool(_NUMBER.fullmatch(first)) if class_names is None else all(name.isdecimal() for name in class_names)
    labels = _numbers(path, lines) if numeric else None
    if class_names is None:
        class_names = _number_names(path, lines, labels) if labels is not None else _label_names(lines)
        if len(class_names) < 2:
            raise DataError(f"{path}: all {len(lines)} lines have the label {first!r}; at least 2 are needed")
    if labels is None or labels.max() >= len(class_names):
        labels = _look_up(path, lines, class_names)
    return Pool(path.stem, split, class_names, labels, paths=tuple(name for _, name, _ in lines), root=root)


def _read(path: Path) -> _Lines:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{path}: no such list file{suggest_path(path)}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not a text file; a list has one 'relative/path label' per line") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    lines: _Lines = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        parts = line.strip().rsplit("\t" if "\t" in line.strip() else None, 1)
        if len(parts) != 2 or not parts[0].strip():
            raise DataError(f"{path}, line {number}: expected 'relative/path label', got {line.strip()[:80]!r}")
        lines.append((number, parts[0].strip(), parts[1].strip()))
    if not lines:
        raise DataError(f"{path}: an empty list; a list has one 'relative/path label' per line")
    return lines


def _numbers(path: Path, lines: _Lines) -> NDArray[np.int64]:
    for number, _, label in lines:
        if not (label.isascii() and label.isdecimal() and len(label) < 10):
            raise DataError(f"{path}, line {number}: expected a whole number 0, 1, 2, ... as label, got {label!r}")
    return np.array([int(label) for _, _, label in lines], dtype=np.int64)


def _number_names(path: Path, lines: _Lines, labels: NDArray[np.int64]) -> tuple[str, ...]:
    present = np.unique(labels)
    if present.size != present[-1] + 1:
        missing = sorted(set(range(min(int(present[-1]) + 1, 1_000_000))) - set(present.tolist()))
        line = lines[int(np.argmax(labels))][0]
        hint = "; they seem to count from 1: subtract 1 from each" if missing == [0] else ""
        raise DataError(
            f"{path}: labels must be 0 to C-1 without gaps; the largest is {present[-1]} (line {line}), and "
            f"{len(missing)} below it never occur: {', '.join(map(str, missing[:10]))}{hint}"
        )
    return tuple(str(label) for label in range(present.size))


def _label_names(lines: _Lines) -> tuple[str, ...]:
    return tuple(sorted({label for _, _, label in lines}))


def _look_up(path: Path, lines: _Lines, class_names: tuple[str, ...]) -> NDArray[np.int64]:
    label_of = {name: label for label, name in enumerate(class_names)}
    for number, _, label in lines:
        if label not in label_of:
            known = f"{class_names[0]!r} to {class_names[-1]!r}" if len(class_names) > 10 else ", ".join(class_names)
            raise DataError(
                f"{path}, line {number}: label {label!r} is not a class of the training list"
                f"{suggest(label, class_names)} ({len(class_names)} classes: {known})"
            )
    return np.array([label_of[label] for _, _, label in lines], dtype=np.int64)


def _beside(train_file: Path, eval_split: str) -> Path:
    wanted = ("test", "val") if eval_split == "auto" else (eval_split,)
    found = list(re.finditer("train", train_file.name, flags=re.IGNORECASE))
    tried: list[str] = []
    for split in wanted if found else ():
        start, end = found[-1].span()
        word = split.capitalize() if train_file.name[start].isupper() else split
        beside = train_file.with_name(train_file.name[:start] + word + train_file.name[end:])
        if beside.is_file():
            return beside
        tried.append(beside.name)
    looked = f"looked for {' and '.join(tried)} beside it" if tried else "its name has no 'train' to replace"
    raise DataError(f"{train_file}: no evaluation list ({looked}); name one with eval_list")


def _look_for_images(pool: Pool, file: Path, sample: int = 20) -> None:
    spread = sorted({int(position) for position in np.linspace(0, len(pool) - 1, sample)})
    paths = [path for path in map(pool.path_of, spread) if path is not None]
    if not any(path.is_file() for path in paths):
        raise DataError(
            f"{file}: none of {len(paths)} sampled images exists, for example {paths[0]}; paths are taken from the "
            f"folder {pool.root}: name the right one as root"
        )
