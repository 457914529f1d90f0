"""A validation split is stratified, keeps groups on one side, and leaves every class something to train on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailwise.core.errors import DataError
from tailwise.core.stats import ClassStats
from tailwise.own import choose, hold_out

counts_of_classes = st.lists(st.integers(1, 40), min_size=2, max_size=6).filter(lambda counts: max(counts) > 1)


@given(counts_of_classes, st.floats(0.05, 0.95), st.integers(0, 9))
def test_every_class_gives_its_share_and_keeps_an_image(counts: list[int], share: float, seed: int) -> None:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    held = hold_out(labels, share=share, seed=seed)
    for label, count in enumerate(counts):
        taken = int(held[labels == label].sum())
        assert taken <= max(count - 1, 0)
        assert taken >= min(1, count - 1)
        assert abs(taken - share * count) <= 1.0
    assert (held == hold_out(labels, share=share, seed=seed)).all()


@given(counts_of_classes, st.integers(1, 30), st.integers(0, 2**31))
def test_no_group_is_on_both_sides_and_no_class_loses_all_its_images(counts: list[int], num: int, seed: int) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    groups = [f"camera {n}" for n in np.random.default_rng(seed).integers(0, num, labels.size)]
    try:
        held = hold_out(labels, groups, seed=1)
    except DataError as error:
        assert "no group can be held out" in str(error)
        return
    for group in set(groups):
        assert len({bool(side) for side, name in zip(held, groups, strict=True) if name == group}) == 1
    assert (np.bincount(labels[~held], minlength=len(counts)) >= 1).all()
    assert held.any()


def test_many_small_groups_meet_the_share_of_every_class() -> None:
    labels = np.repeat([0, 1, 2], [300, 100, 30])
    groups = [str(number // 3) for number in range(430)]
    held = hold_out(labels, groups)
    shares = np.bincount(labels[held]) / np.bincount(labels)
    assert np.abs(shares - 0.2).max() < 0.06


def test_other_seeds_hold_out_other_images() -> None:
    labels = np.repeat([0, 1], 50)
    assert (hold_out(labels, seed=0) != hold_out(labels, seed=1)).any()


def test_what_cannot_be_held_out_is_told() -> None:
    with pytest.raises(DataError, match="no image can be held out: every class has only one"):
        hold_out(np.array([0, 1]))
    with pytest.raises(DataError, match="no group can be held out: each of 1 holds"):
        hold_out(np.array([0, 0, 1, 1]), ["a"] * 4)
    with pytest.raises(DataError, match="4 images but 2 groups"):
        hold_out(np.array([0, 0, 1, 1]), ["a", "b"])
    with pytest.raises(ValueError, match="share must be above 0 and below 1, got 1"):
        hold_out(np.array([0, 0]), share=1)


@pytest.mark.parametrize(
    ("counts", "size", "on_gpu", "recipe", "image_size", "epochs", "batch"),
    [
        ([50, 40], 32, False, "ce", 32, 100, 8),
        ([50_000, 500], 32, False, "balanced-softmax", 32, 10, None),
        ([3000, 60], 224, False, "balanced-softmax", 64, 16, None),
        ([3000, 60], 224, True, "balanced-softmax", 224, None, None),
    ],
)
def test_the_choice_depends_on_imbalance_size_and_device(
    counts: list[int], size: int, on_gpu: bool, recipe: str, image_size: int, epochs: int | None, batch: int | None
) -> None:
    found = choose(ClassStats(counts), size, on_gpu=on_gpu)
    assert (found.recipe, found.image_size, found.epochs, found.batch) == (recipe, image_size, epochs, batch)
    assert found.reasons["recipe"].startswith(recipe)
    assert ("there is no GPU" in " ".join(found.reasons.values())) != on_gpu
