"""Where the test images of a shot group go: to their own class, or to another one of which group."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tailwise.evaluation.shots import GROUPS, shot_groups

#: What becomes of a test image; the last is a wrong class that the protocol puts into no group.
ENDS = ("right", *GROUPS, "no group")


def group_flow(confusion: Any, counts: Any, shots: str) -> dict[str, dict[str, float] | None]:
    """Shares of the test images of each shot group by what they are taken for.

    Args:
        confusion: Images per (true, predicted), ``[C, C]``.
        counts: Training images per class, ``[C]``.
        shots: A shot protocol.

    Returns:
        Group -> ``right`` and, by the group of the wrong class, ``many``, ``medium``, ``few`` and ``no group``, in
        percent; they add up to 100. Every class counts alike, so ``right`` is the accuracy of the group. None for a
        group without tested classes.
    """
    masks = shot_groups(shots, counts)
    images: NDArray[np.float64] = np.asarray(confusion, dtype=np.float64)
    tested = images.sum(axis=1)
    shares = 100 * np.divide(images, tested[:, None], out=np.zeros_like(images), where=tested[:, None] > 0)
    right = np.diag(shares).copy()
    np.fill_diagonal(shares, 0.0)
    to = {group: shares[:, masks[group]].sum(axis=1) for group in GROUPS}
    outside = ~np.logical_or.reduce([masks[group] for group in GROUPS])
    ends = {"right": right, **to, "no group": shares[:, outside].sum(axis=1)}
    found: dict[str, dict[str, float] | None] = {}
    for group in GROUPS:
        rows = masks[group] & (tested > 0)
        found[group] = {end: float(ends[end][rows].mean()) for end in ENDS} if rows.any() else None
    return found
