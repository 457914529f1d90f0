"""Over- and under-sampling: who is repeated, who is left out, and for how long."""

from __future__ import annotations

from collections import Counter
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats as statistics

from tailwise.core.errors import DataError
from tailwise.core.registry import REGISTRY
from tailwise.core.rng import generator
from tailwise.core.spec import SpecError, from_plain
from tailwise.core.stats import ClassStats
from tailwise.samplers import EpochSampler, Over, Sampler, Under

counts_lists = st.lists(st.integers(1, 25), min_size=2, max_size=7)
copies = st.sampled_from(["random", "even"])


def shuffled_labels(counts: list[int]) -> NDArray[np.int64]:
    return generator(0, "labels").permutation(np.repeat(np.arange(len(counts)), counts))


def test_the_natural_length_is_all_classes_at_the_size_of_one() -> None:
    stats = ClassStats([40, 7, 3])
    assert Over().epoch_size(stats) == 120
    assert Under().epoch_size(stats) == 9
    assert REGISTRY.make("samplers", "class_balanced").epoch_size(stats) == 50


@settings(deadline=None)
@given(counts=counts_lists, way=copies, rounds=st.integers(1, 3), seed=st.integers(0, 5))
def test_a_pass_of_over_sampling_shows_every_image_and_every_class_alike(
    counts: list[int], way: Literal["random", "even"], rounds: int, seed: int
) -> None:
    labels, stats, sampler = shuffled_labels(counts), ClassStats(counts), Over(copies=way)
    size = sampler.epoch_size(stats)
    positions = sampler.draw(labels, stats, 0.0, rounds * size, generator(seed))
    for one_pass in positions.reshape(rounds, size):
        assert set(one_pass.tolist()) == set(range(len(labels)))
        assert np.bincount(labels[one_pass]).tolist() == [max(counts)] * len(counts)
        if way == "even":
            times = np.bincount(one_pass)
            for label, count in enumerate(counts):
                assert set(times[labels == label].tolist()) <= {max(counts) // count, -(-max(counts) // count)}


@settings(deadline=None)
@given(counts=counts_lists, rounds=st.integers(1, 3), redraw=st.booleans(), seed=st.integers(0, 5))
def test_under_sampling_repeats_nothing_within_a_pass_and_keeps_to_its_images(
    counts: list[int], rounds: int, redraw: bool, seed: int
) -> None:
    labels, stats, sampler = shuffled_labels(counts), ClassStats(counts), Under(redraw=redraw)
    size = sampler.epoch_size(stats)
    passes = sampler.draw(labels, stats, 0.0, rounds * size, generator(seed)).reshape(rounds, size)
    kept = set(passes[0].tolist())
    for one_pass in passes:
        assert len(set(one_pass.tolist())) == size
        assert set(one_pass.tolist()) == kept
        assert np.bincount(labels[one_pass]).tolist() == [min(counts)] * len(counts)


@settings(deadline=None)
@given(counts=counts_lists, n=st.integers(0, 60), seed=st.integers(0, 5), over=st.booleans())
def test_any_length_is_the_beginning_of_a_longer_one(counts: list[int], n: int, seed: int, over: bool) -> None:
    labels, stats = shuffled_labels(counts), ClassStats(counts)
    sampler: Sampler = Over() if over else Under()
    positions = sampler.draw(labels, stats, 0.0, n, generator(seed))
    assert positions.shape == (n,)
    assert positions.dtype == np.int64
    one_pass = sampler.draw(labels, stats, 0.0, sampler.epoch_size(stats), generator(seed))
    if over:
        assert positions[: len(one_pass)].tolist() == one_pass[:n].tolist()
    else:
        assert set(positions.tolist()) <= set(one_pass.tolist())


def test_random_copies_differ_in_number_and_even_ones_do_not() -> None:
    counts = [200, 10]
    labels, stats = shuffled_labels(counts), ClassStats(counts)
    small = np.flatnonzero(labels == 1)
    times = {
        way: Counter(sampler.draw(labels, stats, 0.0, 400, generator(0)).tolist())
        for way, sampler in {"random": Over(), "even": REGISTRY.make("samplers", "over_even")}.items()
    }
    assert {times["even"][int(position)] for position in small} == {20}
    random = [times["random"][int(position)] - 1 for position in small]
    assert sum(random) == 190
    assert statistics.chisquare(random).pvalue > 1e-4
    assert len(set(random)) > 3


def test_every_epoch_of_under_sampling_keeps_other_images_unless_it_may_not() -> None:
    counts = [300, 20]
    labels, stats = shuffled_labels(counts), ClassStats(counts)

    def kept(sampler: Under, epoch: int) -> set[int]:
        positions = sampler.draw(labels, stats, 0.0, 320, generator(0, epoch))
        return set(positions[labels[positions] == 0].tolist())

    assert len(kept(Under(), 0)) == 20
    assert len(kept(Under(), 0) & kept(Under(), 1)) < 8
    fixed = Under(redraw=False)
    assert kept(fixed, 0) == kept(fixed, 1)
    assert kept(fixed, 0) != kept(Under(redraw=False, seed=1), 0)
    first, second = (fixed.draw(labels, stats, 0.0, 40, generator(0, epoch)) for epoch in (0, 1))
    assert (first != second).any()


def test_over_many_epochs_every_image_of_a_large_class_is_kept_equally_often() -> None:
    counts = [60, 6]
    labels, stats = shuffled_labels(counts), ClassStats(counts)
    epochs = [Under().draw(labels, stats, 0.0, 12, generator(3, epoch)) for epoch in range(1000)]
    times = np.bincount(np.concatenate(epochs), minlength=66)
    assert (times[labels == 1] == 1000).all()
    assert statistics.chisquare(times[labels == 0]).pvalue > 1e-4


def test_images_added_to_a_class_take_part_without_raising_its_share() -> None:
    labels, stats = np.repeat([0, 1], [10, 50]), ClassStats([10, 5])
    for sampler in (Over(), Under()):
        positions = sampler.draw(labels, stats, 0.0, 2000, generator(0))
        assert np.bincount(labels[positions]).tolist() == [1000, 1000]
    one_pass = Over().draw(labels, stats, 0.0, 20, generator(0))
    assert len(set(one_pass.tolist())) == 20


@pytest.mark.parametrize("sampler", [Over(), Under()])
def test_a_class_without_images_is_named(sampler: Sampler) -> None:
    with pytest.raises(DataError, match=r"^1 of 3 classes have no images \(labels \[1\]\)$"):
        sampler.draw(np.array([0, 2, 2]), ClassStats([1, 1, 2]), 0.0, 5, generator(0))


@pytest.mark.parametrize("sampler", [Over(), Under()])
def test_the_samplers_serve_a_torch_loader_at_their_own_length(sampler: Sampler) -> None:
    labels = np.repeat([0, 1, 2], [20, 7, 3])
    length = sampler.epoch_size(ClassStats([20, 7, 3]))
    epochs = EpochSampler(sampler, labels, seed=0, num_samples=length)
    first = list(epochs)
    assert np.bincount(labels[first]).tolist() == [length // 3] * 3
    epochs.set_epoch(1, 0.5)
    assert list(epochs) != first
    assert len(list(EpochSampler(sampler, labels, seed=0))) == 30


def test_wrong_choices_are_refused() -> None:
    with pytest.raises(ValueError, match="copies must be random or even, got 'smote'"):
        Over(copies="smote")  # type: ignore[arg-type]
    with pytest.raises(SpecError) as error:
        from_plain(Sampler, "under(seed=-1)", "sampler")
    assert str(error.value) == "sampler: seed must be at least 0, got -1"
