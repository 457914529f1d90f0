"""Where the test images of a group go, against loops over the confusion matrix."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailwise.evaluation.flow import ENDS, group_flow
from tailwise.evaluation.metrics import group_records
from tailwise.evaluation.shots import GROUPS, shot_groups


def reference(confusion: np.ndarray, counts: list[int], shots: str) -> dict[str, dict[str, float] | None]:
    masks = shot_groups(shots, counts)
    place = [next((group for group in GROUPS if masks[group][c]), "no group") for c in range(len(counts))]
    found: dict[str, dict[str, float] | None] = {}
    for group in GROUPS:
        rows = [c for c in range(len(counts)) if place[c] == group and confusion[c].sum()]
        if not rows:
            found[group] = None
            continue
        shares = dict.fromkeys(ENDS, 0.0)
        for c in rows:
            for other in range(len(counts)):
                end = "right" if other == c else place[other]
                shares[end] += 100 * confusion[c, other] / confusion[c].sum() / len(rows)
        found[group] = shares
    return found


@given(st.integers(0, 2**32 - 1), st.integers(2, 12), st.sampled_from(["oltr", "kang", "fsa", "thirds"]))
def test_the_flow_equals_loops_and_adds_up(seed: int, classes: int, shots: str) -> None:
    rng = np.random.default_rng(seed)
    counts = rng.choice([1, 19, 20, 21, 99, 100, 101, 500], size=classes).tolist()
    confusion = rng.integers(0, 5, size=(classes, classes)) * (rng.random((classes, 1)) < 0.8)
    found, expected = group_flow(confusion, counts, shots), reference(confusion, counts, shots)
    for group in GROUPS:
        ours, theirs = found[group], expected[group]
        if ours is None or theirs is None:
            assert ours is theirs
            continue
        assert list(ours) == list(ENDS)
        np.testing.assert_allclose([ours[end] for end in ENDS], [theirs[end] for end in ENDS], atol=1e-9)
        assert sum(ours.values()) == pytest.approx(100)


def test_the_share_that_goes_right_is_the_accuracy_of_the_group() -> None:
    rng = np.random.default_rng(0)
    confusion, counts = rng.integers(1, 9, size=(6, 6)), np.array([500, 200, 50, 30, 10, 5])
    accuracy = (100 * np.diag(confusion) / confusion.sum(axis=1)).tolist()
    for group, record in group_records(accuracy, counts, "oltr").items():
        flow = group_flow(confusion, counts, "oltr")[group]
        assert flow is not None
        assert flow["right"] == pytest.approx(record["accuracy"])
