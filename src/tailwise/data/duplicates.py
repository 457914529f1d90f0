"""Images that occur more than once, byte for byte: within a split, across splits, with and without the same label."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tailwise.data.images import Progress, in_threads
from tailwise.data.index import Pool


def content_hashes(
    pool: Pool,
    positions: Sequence[int] | NDArray[np.int64],
    workers: int = 2,
    on_progress: Progress | None = None,
) -> list[str | None]:
    """SHA-256 of each file's bytes or of the pixels of an image in memory; ``None`` for a file that cannot be read."""
    order = [int(position) for position in positions]

    def digest(position: int) -> str | None:
        path = pool.path_of(position)
        if path is None:
            assert pool.array is not None
            return hashlib.sha256(np.ascontiguousarray(pool.array[position]).data).hexdigest()
        try:
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            return None

    hashes: list[str | None] = []
    for done, value in enumerate(in_threads(digest, order, workers), start=1):
        hashes.append(value)
        if on_progress is not None:
            on_progress(done, len(order))
    return hashes


def find_duplicates(
    train: Pool,
    train_positions: NDArray[np.int64],
    test: Pool,
    workers: int = 2,
    on_progress: Progress | None = None,
) -> dict[str, list[dict[str, Any]]]:
    """Groups of identical images.

    A group that has several members in training and some in test is listed under every heading that it belongs to.

    Args:
        train: The training pool.
        train_positions: The training images that are used, shape ``[n]``.
        test: The evaluation pool, all of it.
        workers: Reading threads.
        on_progress: Called with the number of images read and their total.

    Returns:
        ``{"within_train": [...], "within_test": [...], "across": [...]}``; each group has ``"files"``, ``"classes"``
        (one per file) and ``"same_label"``.
    """
    total = len(train_positions) + len(test)

    def later(done: int, _: int) -> None:
        if on_progress is not None:
            on_progress(len(train_positions) + done, total)

    def first(done: int, _: int) -> None:
        if on_progress is not None:
            on_progress(done, total)

    members: dict[str, tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
    for position, value in zip(train_positions, content_hashes(train, train_positions, workers, first), strict=True):
        if value is not None:
            members[value][0].append(int(position))
    test_positions = np.arange(len(test), dtype=np.int64)
    for position, value in zip(test_positions, content_hashes(test, test_positions, workers, later), strict=True):
        if value is not None:
            members[value][1].append(int(position))
    groups = list(members.values())
    return {
        "within_train": [_group(train, own, test, []) for own, _ in groups if len(own) > 1],
        "within_test": [_group(train, [], test, own) for _, own in groups if len(own) > 1],
        "across": [_group(train, left, test, right) for left, right in groups if left and right],
    }


def _group(train: Pool, left: Sequence[int], test: Pool, right: Sequence[int]) -> dict[str, Any]:
    of_pool = [(train, position) for position in left] + [(test, position) for position in right]
    classes = [pool.class_names[pool.labels[position]] for pool, position in of_pool]
    return {
        "files": [pool.name_of(position) for pool, position in of_pool],
        "classes": classes,
        "same_label": len(set(classes)) == 1,
    }
