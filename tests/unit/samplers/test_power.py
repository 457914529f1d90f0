"""Probabilities n_c^q, and the three ways to draw within a class."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats as statistics

from tailwise.core.errors import TailwiseError
from tailwise.core.registry import REGISTRY
from tailwise.core.rng import generator
from tailwise.core.spec import SpecError, from_plain
from tailwise.core.stats import ClassStats
from tailwise.samplers import Power, Sampler

counts_lists = st.lists(st.integers(1, 40), min_size=2, max_size=8)
powers = st.floats(-2, 2, allow_nan=False)
ways = st.sampled_from(["auto", "replacement", "cycle"])


def shuffled_labels(counts: list[int]) -> NDArray[np.int64]:
    return generator(0, "labels").permutation(np.repeat(np.arange(len(counts)), counts))


@given(counts=st.lists(st.integers(1, 10**6), min_size=2, max_size=30), q=powers)
def test_mass_is_the_printed_power_law(counts: list[int], q: float) -> None:
    powered = [float(count) ** q for count in counts]
    expected = [value / sum(powered) for value in powered]
    np.testing.assert_allclose(Power(q=q).class_mass(ClassStats(counts), 0.3), expected, rtol=1e-11)


def test_presets_are_the_three_usual_powers() -> None:
    stats = ClassStats([100, 25, 4])
    expected = {
        "instance_balanced": stats.counts / 129,
        "square-root": np.array([10, 5, 2]) / 17,
        "class_balanced": np.ones(3) / 3,
    }
    for name, mass in expected.items():
        np.testing.assert_allclose(REGISTRY.make("samplers", name).class_mass(stats, 0.0), mass, rtol=1e-12)
    assert from_plain(Sampler, "class-balanced") == Power(q=0.0)


def test_the_reversed_sampler_has_the_weights_of_bbn() -> None:
    counts = [500, 60, 5]
    weights = [max(counts) / count for count in counts]
    mass = REGISTRY.make("samplers", "reversed").class_mass(ClassStats(counts), 0.3)
    np.testing.assert_allclose(mass, [weight / sum(weights) for weight in weights], rtol=1e-12)
    labels = shuffled_labels(counts)
    drawn = np.bincount(labels[Power(q=-1.0).draw(labels, ClassStats(counts), 0.0, 20_000, generator(2))])
    assert statistics.chisquare(drawn, 20_000 * mass).pvalue > 1e-4


def test_extreme_powers_stay_probabilities() -> None:
    stats = ClassStats([1, 10**6, 10])
    np.testing.assert_array_equal(Power(q=1000.0).class_mass(stats, 0.0), [0, 1, 0])
    np.testing.assert_array_equal(Power(q=-1000.0).class_mass(stats, 0.0), [1, 0, 0])


@settings(deadline=None)
@given(counts=counts_lists, q=powers, within=ways, n=st.integers(0, 120), seed=st.integers(0, 5))
def test_every_way_gives_positions_and_depends_on_the_generator_only(
    counts: list[int], q: float, within: Literal["auto", "replacement", "cycle"], n: int, seed: int
) -> None:
    labels, stats = shuffled_labels(counts), ClassStats(counts)
    sampler = Power(q=q, within=within)
    positions = sampler.draw(labels, stats, 0.0, n, generator(seed))
    assert positions.shape == (n,)
    assert positions.dtype == np.int64
    assert n == 0 or (positions.min() >= 0 and positions.max() < len(labels))
    np.testing.assert_array_equal(positions, sampler.draw(labels, stats, 0.0, n, generator(seed)))


@settings(deadline=None)
@given(counts=counts_lists, rounds=st.integers(1, 3), seed=st.integers(0, 5))
def test_instance_balanced_shows_every_image_once_per_round(counts: list[int], rounds: int, seed: int) -> None:
    labels = shuffled_labels(counts)
    positions = Power().draw(labels, ClassStats(counts), 0.0, rounds * len(labels), generator(seed))
    for one_round in positions.reshape(rounds, -1):
        assert sorted(one_round.tolist()) == list(range(len(labels)))


@settings(deadline=None)
@given(counts=counts_lists, q=powers, n=st.integers(1, 200), seed=st.integers(0, 5))
def test_cycle_shows_all_images_of_a_class_before_one_returns(counts: list[int], q: float, n: int, seed: int) -> None:
    labels = shuffled_labels(counts)
    positions = Power(q=q, within="cycle").draw(labels, ClassStats(counts), 0.0, n, generator(seed))
    for label, size in enumerate(counts):
        own = positions[labels[positions] == label]
        for start in range(0, len(own), size):
            one_round = own[start : start + size].tolist()
            assert len(set(one_round)) == len(one_round)


def test_two_rounds_come_in_different_orders() -> None:
    labels = shuffled_labels([30, 20])
    first, second = Power().draw(labels, ClassStats([30, 20]), 0.0, 100, generator(0)).reshape(2, 50)
    assert (first != second).any()


def test_replacement_repeats_images_within_a_round() -> None:
    labels = shuffled_labels([30, 20])
    positions = Power(within="replacement").draw(labels, ClassStats([30, 20]), 0.0, 50, generator(0))
    # 50 draws from 50 images miss about 50 / e = 18 of them.
    assert 22 < len(set(positions.tolist())) < 42


def test_auto_is_replacement_for_other_powers() -> None:
    labels, stats = shuffled_labels([30, 20]), ClassStats([30, 20])
    for q in (0.0, 0.5, -1.0):
        auto = Power(q=q).draw(labels, stats, 0.0, 80, generator(3))
        np.testing.assert_array_equal(auto, Power(q=q, within="replacement").draw(labels, stats, 0.0, 80, generator(3)))


def test_wrong_hyper_parameters_are_refused() -> None:
    with pytest.raises(ValueError, match="q must be finite, got inf"):
        Power(q=float("inf"))
    with pytest.raises(TailwiseError, match="within must be auto, replacement or cycle, got 'cycles'"):
        REGISTRY.make("samplers", "power", within="cycles")
    with pytest.raises(SpecError, match=r"did you mean 'cycle'"):
        from_plain(Sampler, {"_type": "power", "within": "cycles"})
