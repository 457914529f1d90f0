"""Groups of classes from counts: sizes, order, and what is refused."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailwise.core.errors import DataError
from tailwise.core.groups import OFFICIAL_CUTS, Groups
from tailwise.core.stats import ClassStats
from tailwise.data.profiles import exponential

CIFAR10 = ClassStats([5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50])
COUNTS = st.lists(st.integers(1, 5000), min_size=5, max_size=30).filter(lambda counts: len(set(counts)) > 1)


def sizes(groups: Groups, stats: ClassStats, number: int) -> list[int]:
    return np.bincount(groups.assign(stats, number), minlength=number).tolist()


@pytest.mark.parametrize(
    ("groups", "number", "expected"),
    [
        (Groups(), 3, [3, 3, 4]),
        (Groups(), 2, [5, 5]),
        (Groups(), 4, [2, 2, 2, 4]),
        (Groups(), 5, [2, 2, 2, 2, 2]),
        (Groups(rule="imbalance"), 3, [3, 3, 4]),
        (Groups(rule="official"), 3, [2, 2, 6]),
        (Groups(rule="official"), 4, [2, 2, 2, 4]),  # none published for four groups: by rank
        (Groups(rule="counts", thresholds=(1000, 100)), 3, [4, 4, 2]),
        (Groups(rule="cuts", cuts=(3, 6)), 3, [3, 3, 4]),
        (Groups(rule="cuts", cuts=(-7, -4)), 3, [3, 3, 4]),
        (Groups(rule="cuts", cuts=(1, -1)), 3, [1, 8, 1]),
    ],
)
def test_sizes_of_groups_on_cifar10_lt(groups: Groups, number: int, expected: list[int]) -> None:
    assert sizes(groups, CIFAR10, number) == expected


@pytest.mark.parametrize(
    ("classes", "number", "nested"),
    [(10, 3, [10, 8, 6]), (100, 3, [100, 65, 30]), (1000, 3, [1000, 825, 220]), (8142, 2, [8142, 6600])],
)
def test_official_cuts_are_those_of_the_code(classes: int, number: int, nested: list[int]) -> None:
    stats = ClassStats(np.arange(classes) + 1)
    group = Groups(rule="official").assign(stats, number)
    assert [int((group >= branch).sum()) for branch in range(number)] == nested
    # The last class in label order is the largest here: ranks decide, never ids.
    assert group[-1] == 0
    assert group[0] == number - 1
    assert set(OFFICIAL_CUTS) == {10, 100, 1000, 8142}


def test_count_thresholds_are_those_of_the_text_at_their_edges() -> None:
    stats = ClassStats([101, 100, 20, 19])
    assert Groups(rule="counts").assign(stats, 3).tolist() == [0, 1, 1, 2]


def test_equal_ratios_give_the_same_factor_to_every_group_of_an_exponential_profile() -> None:
    stats = ClassStats(exponential(300, 100_000, 1000.0))
    group = Groups(rule="imbalance").assign(stats, 3)
    factors = [stats.counts[group == g].max() / stats.counts[group == g].min() for g in range(3)]
    np.testing.assert_allclose(factors, 10.0, rtol=0.04)


@given(COUNTS, st.integers(2, 5), st.sampled_from(["rank", "imbalance", "official"]))
def test_larger_classes_never_come_after_smaller_ones(counts: list[int], number: int, rule: str) -> None:
    stats = ClassStats(counts)
    try:
        group = Groups(rule=rule).assign(stats, number)  # pyright: ignore[reportArgumentType]
    except DataError:
        assert rule == "imbalance"
        return
    assert sorted(set(group.tolist())) == list(range(number))
    for one in range(len(counts)):
        for other in range(len(counts)):
            if counts[one] > counts[other]:
                assert group[one] <= group[other]


@given(COUNTS)
def test_groups_by_ratio_follow_classes_that_change_places(counts: list[int]) -> None:
    order = np.random.default_rng(len(counts)).permutation(len(counts))
    groups = Groups(rule="imbalance")
    try:
        group = groups.assign(ClassStats(counts), 2)
    except DataError:
        return
    assert np.array_equal(groups.assign(ClassStats(np.array(counts)[order]), 2), group[order])


@pytest.mark.parametrize(
    ("groups", "counts", "number", "message"),
    [
        (Groups(), [9, 3], 3, "3 branches need at least 3 classes, the data have 2"),
        (
            Groups(),
            [7] * 6,
            3,
            "all 6 classes have 7 training images, so groups by rank are undefined; give cut points in ranks: "
            "groups.rule=cuts groups.cuts=(2, 4)",
        ),
        (
            Groups(rule="counts"),
            [500, 400, 90, 30],
            3,
            "groups by counts leave branch 2 without classes (classes in the groups: 2, 2, 0); use fewer branches, "
            "groups.rule=rank or explicit cuts",
        ),
        (
            Groups(rule="imbalance"),
            [1000, 1000, 1, 1],
            3,
            "groups by imbalance leave branch 1 without classes (classes in the groups: 2, 0, 2); use fewer branches, "
            "groups.rule=rank or explicit cuts",
        ),
        (Groups(rule="counts"), [500, 90, 30], 2, "2 branches need 1 thresholds, got (100, 19)"),
        (Groups(rule="cuts", cuts=(2,)), [5, 4, 3, 2], 3, "3 branches need 2 cut points, got (2,)"),
        (
            Groups(rule="cuts", cuts=(2, 4)),
            [5, 4, 3, 2],
            3,
            "cut points (2, 4) must ascend and lie from 1 to 3, one less than the classes (negative ones count from "
            "the smallest class)",
        ),
    ],
)
def test_data_without_groups_are_refused(groups: Groups, counts: list[int], number: int, message: str) -> None:
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        groups.assign(ClassStats(counts), number)


def test_equal_counts_with_explicit_cuts_keep_label_order() -> None:
    assert Groups(rule="cuts", cuts=(2, 4)).assign(ClassStats([7] * 6), 3).tolist() == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"thresholds": (19, 100)}, "thresholds must descend and be at least 1, got (19, 100)"),
        ({"thresholds": ()}, "thresholds must descend and be at least 1, got ()"),
        ({"rule": "cuts"}, "groups.rule=cuts needs cut points, for example groups.cuts=(3, 6)"),
        ({"cuts": (3,)}, "cut points (3,) are not used by groups.rule=rank; give groups.rule=cuts"),
    ],
)
def test_settings_that_do_not_fit_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Groups(**values)  # type: ignore[arg-type]
