"""A user's own images in class folders: ``PATH/{train, val or test}/<class>/image``."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from pathlib import Path, PurePath

import numpy as np

from tailwise.core.errors import DataError, suggest
from tailwise.core.registry import register
from tailwise.data.index import Pool
from tailwise.data.open import Splits, refuse_unused, suggest_path
from tailwise.data.pool import printable

#: File names that count as images, in any case.
EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")


@register("folder", kind="datasets")
def folder(
    *,
    location: Path | None = None,
    root: Path | None = None,
    eval_split: str = "auto",
    eval_list: Path | None = None,
) -> Splits:
    """Your own images: PATH/train/<class>/ and PATH/test/<class>/ (or val), class folders searched to any depth.

    Classes are the sorted folder names, images sorted within each. Hidden files and other extensions are left out.

    Args:
        location: PATH.
        root: Not used.
        eval_split: ``"auto"`` takes ``test`` if there is one and ``val`` otherwise.
        eval_list: Not used.

    Raises:
        DataError: No such folder or split, fewer than two classes, a class without images, or evaluation classes that
            are not the training classes.
    """
    refuse_unused("folder", {"root": root, "eval_list": eval_list})
    if location is None:
        raise DataError("data set 'folder' needs the folder of your images")
    base = location.expanduser()
    if not base.is_dir():
        what = "is a file, not a folder" if base.exists() else "no such folder"
        raise DataError(f"{base}: {what}{suggest_path(base)}")
    subfolders = _subfolders(base)
    if "train" not in subfolders:
        raise DataError(_no_train(base, subfolders))
    wanted = ("test", "val") if eval_split == "auto" else (eval_split,)
    found = next((split for split in wanted if split in subfolders), None)
    if found is None:
        raise DataError(
            f"{base}: has train/ but no {' or '.join(f'{split}/' for split in wanted)} to evaluate on "
            f"(found: {_names(subfolders)}); put some images of every class there, or use a list file"
        )
    train_classes, eval_classes = _subfolders(base / "train"), _subfolders(base / found)
    if len(train_classes) < 2:
        raise DataError(
            f"{base / 'train'}: {len(train_classes)} class folders ({_names(train_classes)}); at least 2 are needed"
        )
    if train_classes != eval_classes:
        only_train = [name for name in train_classes if name not in eval_classes]
        only_eval = [name for name in eval_classes if name not in train_classes]
        raise DataError(
            f"{base}: the class folders of train/ and {found}/ differ; only in train/: {_names(only_train)}; "
            f"only in {found}/: {_names(only_eval)}"
        )
    return Splits(_pool(base, "train", train_classes), _pool(base, found, train_classes))


def _pool(base: Path, split: str, classes: list[str]) -> Pool:
    paths: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        images = sorted(_images(base, PurePath(split, name)))
        if not images:
            raise DataError(
                f"{base / split / name}: no images in this class folder; known extensions: {', '.join(EXTENSIONS)}"
            )
        paths += images
        labels += [label] * len(images)
    source = base.resolve().name or "folder"
    return Pool(source, split, _class_names(classes), np.array(labels, dtype=np.int64), paths=tuple(paths), root=base)


def _class_names(folders: list[str]) -> tuple[str, ...]:
    names = tuple(printable(name) for name in folders)
    if len(set(names)) < len(names):
        raise DataError(f"two class folders have names that cannot be told apart in UTF-8: {_names(sorted(names))}")
    return names


def _images(base: Path, relative: PurePath) -> Iterator[str]:
    for at, subfolders, files in os.walk(base / relative, followlinks=True):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        below = Path(at).relative_to(base).as_posix()
        for name in files:
            if name.lower().endswith(EXTENSIONS) and not name.startswith("."):
                yield f"{below}/{name}"


def _subfolders(at: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in at.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    except OSError as error:
        raise DataError(f"{at}: cannot be read: {error.strerror or error}") from error


def _no_train(base: Path, subfolders: list[str]) -> str:
    layout = "needed: train/<class>/images and test/<class>/images (or val/ in place of test/)"
    if base.name == "train" and subfolders:
        return f"{base}: has no train/ in it; did you mean the folder above, {base.parent}? {layout}"
    deeper = next((name for name in subfolders if (base / name / "train").is_dir()), None)
    if deeper is not None:
        return f"{base}: has no train/ in it; did you mean {base / deeper}? {layout}"
    near = suggest("train", subfolders)
    if near:
        return f"{base}: has no train/ (found: {_names(subfolders)}){near} {layout}"
    first = next((name for name in subfolders if next(_images(base, PurePath(name)), None)), None)
    if first is not None:
        quoted = [shlex.quote(str(base / part)) for part in ("train", f"test/{first}", first, f"train/{first}")]
        train, test_class, here, train_class = quoted
        return (
            f"{base}: has no train/; it looks like {base.name}/<class>/images ({_names(subfolders)}). {layout}. "
            f"For each class, for example: mkdir -p {train} {test_class} && mv {here} {train}, "
            f"then move a few images from {train_class} to {test_class}"
        )
    return f"{base}: has no train/ (found: {_names(subfolders)}); {layout}"


def _names(names: list[str], most: int = 10) -> str:
    if not names:
        return "nothing"
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(repr(name) for name in names[:most]) + rest
