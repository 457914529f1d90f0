"""From what a user types to two pools: ``open_data``, ``guess_source``, ``prepare_index``."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tailwise.core.errors import DataError, UnknownName, suggest
from tailwise.core.registry import REGISTRY
from tailwise.data.index import LongTailIndex, Pool
from tailwise.data.profiles import cut_long_tail

EVAL_SPLITS = ("auto", "val", "test")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Splits:
    """A data set: the pool to cut a long-tailed training set from, and the images to evaluate on.

    Raises:
        DataError: The two pools have different classes.
    """

    train: Pool
    test: Pool

    def __post_init__(self) -> None:
        if self.train.class_names != self.test.class_names:
            raise DataError(f"{self.train.source}: the classes of {self.train.split} and {self.test.split} differ")


def open_data(
    name: str,
    *,
    location: Path | None = None,
    root: Path | None = None,
    eval_split: str = "auto",
    eval_list: Path | None = None,
) -> Splits:
    """Opens a registered data set.

    Args:
        name: Registry name, for example ``"digits"``, ``"cifar10"``, ``"folder"`` or ``"list"``.
        location: The folder of ``"folder"``, the training list of ``"list"``.
        root: Where the files of a downloaded data set lie, or the folder that a list's paths start from.
        eval_split: ``"test"``, ``"val"`` or ``"auto"`` (test if there is one, else val).
        eval_list: The evaluation list of ``"list"``.

    Raises:
        UnknownName: No such data set.
        DataError: Anything wrong with the files, or an argument that this data set does not take.
    """
    if eval_split not in EVAL_SPLITS:
        raise UnknownName("evaluation split", eval_split, EVAL_SPLITS)
    target = REGISTRY.find("datasets", name).target
    return target(location=location, root=root, eval_split=eval_split, eval_list=eval_list)


def guess_source(text: str) -> tuple[str, Path | None]:
    """What a user means by one word: a data set's name, else a folder of images, else a table or a list file.

    A folder that is called like a data set is reached by ``./name``.

    Returns:
        The registry name and the location.

    Raises:
        DataError: None of these; the message offers what is near.
    """
    try:
        return REGISTRY.find("datasets", text).name, None
    except UnknownName:
        pass
    path = Path(text).expanduser()
    if path.is_dir():
        return "folder", path
    if path.is_file():
        from tailwise.data.tables import is_table  # which needs Splits from here

        return ("table" if is_table(path) else "list"), path
    names = REGISTRY.names("datasets")
    raise DataError(
        f"no data set is called {text!r}{suggest(text, names)} (data sets: {', '.join(names)}), "
        f"and there is no such folder or list file{suggest_path(path)}"
    )


def prepare_index(
    splits: Splits,
    *,
    imbalance_factor: float | None = None,
    profile: str = "exponential",
    max_per_class: int | None = None,
    subset_seed: int = 0,
    subset_file: Path | None = None,
) -> LongTailIndex:
    """The training subset: read from a file when one is given, else cut by :func:`cut_long_tail`.

    A subset file says everything; the other arguments are then not used.

    Raises:
        UnknownName: No such profile.
        DataError: A damaged or foreign subset file, or a tail that cannot be cut.
    """
    if subset_file is not None:
        index = LongTailIndex.load(subset_file, splits.train)
        _log.info("training subset of %d images read from %s", len(index), subset_file)
        return index
    return cut_long_tail(splits.train, imbalance_factor, profile, max_per_class, subset_seed)


def refuse_unused(name: str, arguments: Mapping[str, Any]) -> None:
    """Complains about arguments that were given to a data set that has no use for them.

    Raises:
        DataError: One of the arguments is neither ``None`` nor ``"auto"``.
    """
    given = [argument for argument, value in arguments.items() if value not in (None, "auto")]
    if given:
        raise DataError(f"data set {name!r} has no use for {' and '.join(given)} (given: {arguments[given[0]]})")


def suggest_path(path: Path) -> str:
    """``"; did you mean 'x'?"`` for the nearest name in the same folder, or an empty string."""
    try:
        hint = suggest(path.name, [near.name for near in path.parent.iterdir() if not near.name.startswith(".")])
    except OSError:
        return f" (nor is there a folder {str(path.parent)!r})" if str(path.parent) not in (".", "") else ""
    return hint
