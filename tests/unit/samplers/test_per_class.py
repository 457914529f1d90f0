"""Some classes a step and a few images of each: distinct, as likely each, and refused where it cannot be."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as statistics

from tailwise.core.errors import RunError, TailwiseError
from tailwise.core.rng import generator
from tailwise.core.stats import ClassStats
from tailwise.data.plan import make_plan
from tailwise.engine.recipe import Data, Stage, Stream
from tailwise.samplers import EpochSampler, PerClass, Power

COUNTS = (9, 4, 30, 2, 12, 5)
STATS = ClassStats(COUNTS)
LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(6), COUNTS))


def steps_of(sampler: PerClass, steps: int, batch: int, seed: int = 0) -> np.ndarray:
    return sampler.draw_steps(LABELS, STATS, 0.5, steps, batch, generator(seed))


@settings(deadline=None, max_examples=60)
@given(
    counts=st.lists(st.integers(1, 12), min_size=2, max_size=8),
    size=st.integers(1, 6),
    data=st.data(),
    seed=st.integers(0, 1000),
)
def test_a_step_has_distinct_classes_and_distinct_images_where_a_class_has_enough(
    counts: list[int], size: int, data: st.DataObject, seed: int
) -> None:
    size = min(size, max(counts))
    classes = data.draw(st.integers(1, len(counts)))
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    rows = PerClass(images_per_class=size).draw_steps(
        labels, ClassStats(counts), 0.0, 5, classes * size, generator(seed)
    )
    assert rows.shape == (5, classes * size)
    for row in rows:
        shown = Counter(labels[row].tolist())
        assert len(shown) == classes
        assert set(shown.values()) == {size}
        for label in shown:
            own = row[labels[row] == label]
            assert counts[label] < size or len(set(own.tolist())) == size


def test_images_of_a_small_class_come_with_replacement() -> None:
    rows = steps_of(PerClass(images_per_class=4), 400, 8)
    small = [row[LABELS[row] == 3] for row in rows if (LABELS[row] == 3).any()]
    assert {len(own) for own in small} == {4}
    # Two images, four independent draws: both show up with probability 7/8.
    share = np.mean([len(set(own.tolist())) == 2 for own in small])
    assert abs(share - 7 / 8) < 0.08


def test_every_pair_of_images_of_a_class_is_as_likely() -> None:
    rows = steps_of(PerClass(images_per_class=2), 9000, 2, seed=1)
    own = [tuple(sorted(row)) for row in rows if LABELS[row[0]] == 1]
    pairs = Counter(own)
    assert len(pairs) == 6  # of four images
    assert statistics.chisquare(list(pairs.values())).pvalue > 1e-3


def test_every_pair_of_classes_is_as_likely() -> None:
    rows = steps_of(PerClass(images_per_class=1), 6000, 2, seed=2)
    pairs = Counter(tuple(sorted(LABELS[row])) for row in rows)
    assert len(pairs) == 15
    assert statistics.chisquare(list(pairs.values())).pvalue > 1e-3


def test_without_a_number_it_takes_the_least_divisor_for_which_there_are_enough_classes() -> None:
    sampler = PerClass(images_per_class=None)
    assert [sampler.size(batch, 10) for batch in (64, 40, 128, 67, 3)] == [8, 4, 16, 67, 3]
    assert sampler.size(128, 1000) == 4
    assert set(Counter(LABELS[steps_of(sampler, 1, 40)[0]].tolist()).values()) == {8}


def test_the_plan_asks_the_sampler_for_whole_steps() -> None:
    streams = {"main": Stream(sampler=PerClass(images_per_class=2), batch=8)}
    plan = make_plan(
        Stage(streams=streams),
        Data(image_size=8),
        LABELS,
        STATS,
        seed=0,
        stage_number=0,
        epoch=0,
        progress=0.0,
        steps=7,
    )
    index = plan.streams["main"].index
    assert all(len(set(LABELS[row].tolist())) == 4 for row in index)
    shares = [plan.rank_slice(rank, 2).streams["main"].index for rank in (0, 1)]
    # Each of two processes gets one of the two images of every class.
    assert all(len(set(LABELS[row].tolist())) == 4 for share in shares for row in share)
    merged = np.empty_like(index)
    merged[:, 0::2], merged[:, 1::2] = shares
    np.testing.assert_array_equal(merged, index)


def test_other_samplers_give_a_plan_what_they_always_gave() -> None:
    for sampler in (Power(), Power(q=0.0)):
        rows = sampler.draw_steps(LABELS, STATS, 0.5, 6, 10, generator(3))
        np.testing.assert_array_equal(rows.reshape(-1), sampler.draw(LABELS, STATS, 0.5, 60, generator(3)))


@pytest.mark.parametrize("world", [1, 2])
def test_in_any_loop_the_batches_of_all_processes_are_its_steps(world: int) -> None:
    shares = [
        list(
            EpochSampler(
                PerClass(images_per_class=4), LABELS, seed=1, num_samples=40, rank=rank, world=world, batch_size=16
            )
        )
        for rank in range(world)
    ]
    merged = np.empty(40, np.int64)
    for rank, share in enumerate(shares):
        merged[rank::world] = share
    for first in (0, 16, 32):
        shown = Counter(LABELS[merged[first : first + 16]].tolist())
        assert set(shown.values()) == {4}
        assert len(shown) == min(4, (40 - first) // 4)


def test_messages_for_batches_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="images_per_class must be at least 1, got 0"):
        PerClass(images_per_class=0)
    with pytest.raises(ValueError) as uneven:
        Stream(sampler=PerClass(), batch=66)
    assert str(uneven.value) == (
        "per_class cannot divide a batch of 66 into 4 images of each class; the nearest batch that works is 64 or 68"
    )
    with pytest.raises(TailwiseError) as few:
        PerClass().check(ClassStats([50] * 10), 64)
    assert str(few.value) == (
        "per_class shows 16 different classes in a batch of 64 with 4 images of each, and there are 10 classes; use a "
        "batch of 40 or less, or images_per_class=8 or none"
    )
    with pytest.raises(TailwiseError) as large:
        PerClass(images_per_class=8).check(ClassStats([6, 5, 4, 4]), 16)
    assert str(large.value) == (
        "per_class draws 8 different images of each class, and the largest class has 6; use images_per_class=6 or less"
    )
    with pytest.raises(
        RunError, match="batch_size must be a positive multiple of the 2 processes, got 5; did you mean 4"
    ):
        EpochSampler(PerClass(), LABELS, seed=0, rank=0, world=2, batch_size=5)


def test_classes_that_are_too_small_are_noted() -> None:
    assert PerClass(images_per_class=5).check(STATS, 10) == (
        "per_class: 2 of 6 classes have fewer than 5 images (labels 1, 3) and are drawn from with replacement",
    )
    assert PerClass(images_per_class=2).check(STATS, 10) == ()
