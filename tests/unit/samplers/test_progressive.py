"""Progressively-balanced sampling, and the two ways to count its time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as statistics

from tailwise.core.errors import DataError
from tailwise.core.rng import generator
from tailwise.core.spec import SpecError, from_plain
from tailwise.core.stats import ClassStats
from tailwise.samplers import EpochSampler, Power, Progressive, Sampler

COUNTS = (500, 60, 5)


def printed(counts: list[int], share: float) -> list[float]:
    """Eq. 8 of zhang2021bag with ``share`` for t / T."""
    return [(1 - share) * count / sum(counts) + share / len(counts) for count in counts]


@given(
    counts=st.lists(st.integers(1, 10**6), min_size=2, max_size=20),
    progress=st.floats(0, 1),
    start=st.floats(0, 1),
    end=st.floats(0, 1),
)
def test_mass_is_the_printed_mixture(counts: list[int], progress: float, start: float, end: float) -> None:
    mass = Progressive(start=start, end=end).class_mass(ClassStats(counts), progress)
    np.testing.assert_allclose(mass, printed(counts, start + (end - start) * progress), rtol=1e-9, atol=1e-15)
    assert abs(mass.sum() - 1) < 1e-12


def test_it_begins_instance_balanced_and_ends_class_balanced() -> None:
    stats = ClassStats(COUNTS)
    for progress, q in ((0.0, 1.0), (1.0, 0.0)):
        np.testing.assert_allclose(
            Progressive().class_mass(stats, progress), Power(q=q).class_mass(stats, 0.0), rtol=1e-12
        )


@pytest.mark.parametrize(("first", "epochs"), [(1, 200), (161, 40)])
def test_epochs_counted_from_one_over_the_whole_run(first: int, epochs: int) -> None:
    # The engine's progress in the k-th epoch of a stage is k / (epochs - 1).
    sampler = Progressive(start=first / 200, end=1.0)
    for k in range(epochs):
        mass = sampler.class_mass(ClassStats(COUNTS), k / (epochs - 1))
        np.testing.assert_allclose(mass, printed(list(COUNTS), (first + k) / 200), rtol=1e-12)


@pytest.mark.parametrize("progress", [0.0, 0.25, 1.0])
def test_drawn_classes_follow_the_mass(progress: float) -> None:
    labels, stats = np.repeat(np.arange(3), COUNTS), ClassStats(COUNTS)
    drawn = np.bincount(labels[Progressive().draw(labels, stats, progress, 10_000, generator(1, "t"))])
    assert statistics.chisquare(drawn, 10_000 * np.array(printed(list(COUNTS), progress))).pvalue > 1e-4


def test_progress_reaches_it_through_a_torch_sampler() -> None:
    labels = np.repeat(np.arange(3), COUNTS)
    sampler = EpochSampler(Progressive(), labels, seed=0, num_samples=3000)
    begin = np.bincount(labels[list(sampler)], minlength=3)
    sampler.set_epoch(0, progress=1.0)
    end = np.bincount(labels[list(sampler)], minlength=3)
    assert begin[2] < 60 < 800 < end[2]


def test_a_class_without_images_is_named() -> None:
    with pytest.raises(DataError, match=r"^1 of 2 classes have no images \(labels \[1\]\)$"):
        Progressive().draw(np.array([0, 0]), ClassStats([2, 1]), 0.5, 5, generator(0))


def test_shares_outside_the_range_are_refused() -> None:
    with pytest.raises(SpecError) as error:
        from_plain(Sampler, "progressive(start=1.5)", "sampler")
    assert str(error.value) == "sampler: start must be from 0 to 1, got 1.5"
    with pytest.raises(ValueError, match=r"end must be from 0 to 1, got -0\.1"):
        Progressive(end=-0.1)
