"""A stratified validation split that keeps groups (a camera, a patient, a lot) on one side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tailwise.core.errors import DataError


def hold_out(
    labels: NDArray[np.int64], groups: Sequence[str] | None = None, *, share: float = 0.2, seed: int = 0
) -> NDArray[np.bool_]:
    """Which images to validate on.

    Without groups every class gives ``share`` of its images, rounded, but at least one when it has two, and never all.
    With groups, whole groups are taken in random order as long as at least half of a group's images are still wanted by
    their classes and every class keeps an image to train on; so shares are met less exactly.

    Args:
        labels: int64 ``[N]``.
        groups: The group of each image, N names; None: each image is its own.
        share: Of each class.
        seed: Of the choice; the same seed gives the same split.

    Returns:
        bool ``[N]``, True for validation.

    Raises:
        ValueError: ``share`` is not between 0 and 1.
        DataError: Groups of another number, or no image can be held out.
    """
    if not 0 < share < 1:
        raise ValueError(f"share must be above 0 and below 1, got {share}")
    if groups is not None and len(groups) != len(labels):
        raise DataError(f"{len(labels)} images but {len(groups)} groups")
    counts = np.bincount(labels)
    wanted = np.clip(np.rint(share * counts), np.minimum(1, counts - 1), np.maximum(counts - 1, 0)).astype(np.int64)
    wanted = np.maximum(wanted, 0)
    rng = np.random.default_rng(seed)
    if groups is None:
        held = np.zeros(len(labels), dtype=bool)
        for label, number in enumerate(wanted):
            held[rng.permutation(np.flatnonzero(labels == label))[:number]] = True
    else:
        held = _whole_groups(labels, groups, counts, wanted, rng)
    if not held.any():
        if groups is None:
            raise DataError("no image can be held out: every class has only one; name validation images of your own")
        raise DataError(
            f"no group can be held out: each of {len(set(groups))} holds all images of a class, or too many; group the "
            "images in another way, or name validation images of your own"
        )
    return held


def _whole_groups(
    labels: NDArray[np.int64],
    groups: Sequence[str],
    counts: NDArray[np.int64],
    wanted: NDArray[np.int64],
    rng: np.random.Generator,
) -> NDArray[np.bool_]:
    names, member = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)
    order = np.argsort(member, kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(member, minlength=names.size))[:-1])
    held, left, wanted = np.zeros(len(labels), dtype=bool), counts.copy(), wanted.copy()
    for group in rng.permutation(names.size):
        size = np.bincount(labels[parts[group]], minlength=counts.size)
        present = size > 0
        useful = np.minimum(size, wanted).sum()
        if 2 * useful >= size.sum() and (left - size)[present].min() >= 1:
            held[parts[group]] = True
            left -= size
            wanted = np.maximum(wanted - size, 0)
    return held
