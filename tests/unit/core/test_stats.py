from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailwise.core.errors import DataError
from tailwise.core.rng import generator
from tailwise.core.stats import ClassStats


def test_small_case_by_hand() -> None:
    stats = ClassStats([10, 40, 10, 40])
    assert stats.num_images == 100
    assert stats.imbalance_factor == 4
    assert stats.prior.tolist() == [0.1, 0.4, 0.1, 0.4]
    assert stats.by_frequency.tolist() == [1, 3, 0, 2]
    assert stats.rank.tolist() == [2, 0, 3, 1]


@given(st.lists(st.integers(1, 10**6), min_size=2, max_size=60))
def test_gini_equals_the_mean_absolute_difference(counts: list[int]) -> None:
    x = np.array(counts, dtype=np.float64)
    expected = np.abs(x[:, None] - x).sum() / (2 * x.size**2 * x.mean())
    assert ClassStats(counts).gini == pytest.approx(expected, abs=1e-12)


@given(st.lists(st.integers(1, 50), min_size=2, max_size=40))
def test_rank_is_the_inverse_of_the_order_by_frequency(counts: list[int]) -> None:
    stats = ClassStats(counts)
    assert stats.by_frequency[stats.rank].tolist() == list(range(len(counts)))
    assert (np.diff(stats.counts[stats.by_frequency]) <= 0).all()


@pytest.mark.parametrize("counts", [[3], [[1, 2]], [1, 0], [1.5, 2.5], []])
def test_impossible_counts_are_refused(counts: list[object]) -> None:
    with pytest.raises(DataError):
        ClassStats(counts)


def test_counts_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        ClassStats([1, 2]).counts[0] = 5


def test_streams_of_numbers_differ_by_seed_and_path_and_repeat() -> None:
    draws = {
        key: generator(*key).integers(2**60)
        for key in [(0, 0, 0, "a"), (1, 0, 0, "a"), (0, 1, 0, "a"), (0, 0, 1, "a"), (0, 0, 0, "b")]
    }
    assert len(set(draws.values())) == len(draws)
    assert generator(0, 0, 0, "a").integers(2**60) == draws[0, 0, 0, "a"]
