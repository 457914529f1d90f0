"""The data card: what a long-tailed data set consists of and what is wrong with it, before any training."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tailwise.data.card_figure import draw_card
from tailwise.data.card_table import format_card
from tailwise.data.duplicates import find_duplicates
from tailwise.data.images import Progress, find_unreadable, sample_sizes
from tailwise.data.index import LongTailIndex, Pool
from tailwise.data.open import Splits

__all__ = ["data_card", "draw_card", "format_card"]


def data_card(
    splits: Splits,
    index: LongTailIndex | None = None,
    *,
    check_images: bool = True,
    duplicates: bool = True,
    workers: int = 2,
    on_progress: Progress | None = None,
) -> dict[str, Any]:
    """Facts about a data set as plain JSON-able data.

    Args:
        splits: The data set.
        index: The training images that are used; ``None`` takes the whole training pool.
        check_images: Decode every image to find the unreadable ones.
        duplicates: Hash every image to find exact copies.
        workers: Threads for both.
        on_progress: Called with the number of images handled and their total over both checks.

    Returns:
        ``source``, ``num_classes``, ``num_images``, ``num_test_images``, ``counts`` (``class``, ``label``, ``train``,
        ``test``; largest first), ``imbalance_factor``, ``gini``, ``shots`` (protocol -> group -> ``classes`` and
        ``images``), ``image_size`` (``sampled``, ``min``, ``median``, ``max`` as ``[width, height]``, side by side
        and not of one image), ``missing`` (files), ``unreadable`` (``split``, ``file``, ``class``, ``reason``; or
        ``None`` when not checked) and ``duplicates`` (see :func:`find_duplicates`; or ``None``).

    Raises:
        DataError: A class without training images.
    """
    train, test = splits.train, splits.test
    positions = np.arange(len(train), dtype=np.int64) if index is None else index.positions
    if index is None:
        index = LongTailIndex(positions, train.labels, train.class_names, train.source, "")
    stats = index.stats
    used = len(positions) + len(test)
    total = used * (int(check_images) + int(duplicates))

    def advance(offset: int) -> Progress:
        def report(done: int, _: int) -> None:
            if on_progress is not None:
                on_progress(offset + done, total)

        return report

    everything = np.arange(len(test), dtype=np.int64)
    missing = [(train, at) for at in _missing(train, positions)] + [(test, at) for at in _missing(test, everything)]
    unreadable: list[dict[str, str]] | None = None
    if check_images:
        unreadable = []
        for pool, of_pool, offset in ((train, positions, 0), (test, everything, len(positions))):
            gone = {at for where, at in missing if where is pool}
            for at, reason in find_unreadable(pool, of_pool, workers, advance(offset)).items():
                if at not in gone:
                    name = pool.class_names[pool.labels[at]]
                    entry = {"split": pool.split, "file": pool.name_of(at), "class": name, "reason": reason}
                    unreadable.append(entry)
    copies = None
    if duplicates:
        copies = find_duplicates(train, positions, test, workers, advance(used if check_images else 0))
    test_counts = test.counts
    return {
        "source": train.source,
        "num_classes": stats.num_classes,
        "num_images": stats.num_images,
        "num_test_images": len(test),
        "counts": [
            {
                "class": train.class_names[label],
                "label": int(label),
                "train": int(stats.counts[label]),
                "test": int(test_counts[label]),
            }
            for label in stats.by_frequency
        ],
        "imbalance_factor": stats.imbalance_factor,
        "gini": stats.gini,
        "shots": _shots(stats.counts),
        "image_size": _sizes(train),
        "missing": [pool.name_of(at) for pool, at in missing],
        "unreadable": unreadable,
        "duplicates": copies,
    }


def _missing(pool: Pool, positions: NDArray[np.int64]) -> list[int]:
    found: list[int] = []
    for position in positions.tolist():
        path = pool.path_of(position)
        if path is not None and not path.is_file():
            found.append(position)
    return found


def _shots(counts: NDArray[np.int64]) -> dict[str, dict[str, dict[str, int]]]:
    from tailwise.evaluation.shots import SHOT_PROTOCOLS, shot_groups

    return {
        protocol: {
            group: {"classes": int(mask.sum()), "images": int(counts[mask].sum())}
            for group, mask in shot_groups(protocol, counts).items()
        }
        for protocol in SHOT_PROTOCOLS
    }


def _sizes(pool: Pool) -> dict[str, Any] | None:
    sizes = np.array(sample_sizes(pool), dtype=np.int64).reshape(-1, 2)
    if not len(sizes):
        return None
    return {
        "sampled": len(sizes),
        "min": sizes.min(axis=0).tolist(),
        "median": np.rint(np.median(sizes, axis=0)).astype(int).tolist(),
        "max": sizes.max(axis=0).tolist(),
    }
