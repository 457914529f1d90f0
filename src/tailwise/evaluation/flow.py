"""Where the test images of a shot group go: to their own class, or to another one of which group."""

from __future__ import annotations

from typing import Any

import numpy as np

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
    images = np.asarray(confusion)
    tested, right = images.sum(axis=1), np.diag(images)
    inside = np.stack([masks[group] for group in GROUPS])
    # One column for each group and one for classes in none; a class is in exactly one of them.
    place = np.concatenate([inside, ~inside.any(axis=0, keepdims=True)]).T
    taken = images @ place.astype(images.dtype)
    taken[place] -= right
    share = 100 / np.maximum(tested, 1)
    ends = dict(zip(ENDS, (right * share, *(taken.T * share)), strict=True))
    found: dict[str, dict[str, float] | None] = {}
    for group in GROUPS:
        rows = masks[group] & (tested > 0)
        found[group] = {end: float(ends[end][rows].mean()) for end in ENDS} if rows.any() else None
    return found
