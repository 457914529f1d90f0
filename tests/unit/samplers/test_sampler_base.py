"""Pools of images by class, and the default way to draw."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tailwise.core.errors import DataError
from tailwise.core.rng import generator
from tailwise.core.spec import frozen
from tailwise.core.stats import ClassStats
from tailwise.samplers import Sampler
from tailwise.samplers.base import ClassPools


@frozen
class Fixed(Sampler):
    """Given probabilities."""

    mass: tuple[float, ...]

    def class_mass(self, stats: ClassStats, progress: float) -> NDArray[np.float64]:
        return np.array(self.mass)


@given(st.lists(st.integers(0, 6), min_size=1, max_size=60))
def test_pools_hold_every_position_once_under_its_class(labels: list[int]) -> None:
    array = np.array(labels)
    pools = ClassPools.from_labels(array, 7)
    assert sorted(pools.order.tolist()) == list(range(len(labels)))
    for label in range(7):
        own = pools.order[pools.starts[label] : pools.starts[label] + pools.sizes[label]]
        assert own.tolist() == np.flatnonzero(array == label).tolist()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([0, 1, 3]), "labels go from 0 to 3, allowed: 0 to 2"),
        (np.array([-1, 1, 2]), "labels go from -1 to 2"),
        (np.array([], dtype=np.int64), "non-empty"),
        (np.array([0.0, 1.0]), "whole numbers"),
        (np.array([[0, 1]]), "one non-empty list"),
    ],
)
def test_wrong_labels_are_refused(labels: NDArray[np.int64], message: str) -> None:
    with pytest.raises(DataError, match=message):
        ClassPools.from_labels(labels, 3)


def test_classes_of_zero_mass_are_never_drawn_and_need_no_images() -> None:
    labels = np.array([0, 2, 2, 0])
    positions = Fixed(mass=(0.5, 0.0, 0.5)).draw(labels, ClassStats([2, 1, 2]), 0.0, 200, generator(0))
    assert set(labels[positions]) == {0, 2}


def test_a_class_to_draw_without_images_is_named() -> None:
    with pytest.raises(DataError, match=r"1 of 3 classes have no images \(labels \[1\]\)"):
        Fixed(mass=(0.5, 0.25, 0.25)).draw(np.array([0, 2]), ClassStats([1, 1, 1]), 0.0, 5, generator(0))


@pytest.mark.parametrize("mass", [(0.5, 0.5), (0.5, 0.6, 0.1), (1.5, -0.5, 0.0), (float("nan"), 0.5, 0.5)])
def test_a_mass_that_is_no_probability_is_refused(mass: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match=r"Fixed\.class_mass must be \[C\] probabilities"):
        Fixed(mass=mass).draw(np.array([0, 1, 2]), ClassStats([1, 1, 1]), 0.0, 5, generator(0))


def test_images_added_to_a_class_do_not_raise_its_share() -> None:
    # A weight of 1 / n_c per image would draw the grown class five times as often.
    labels = np.repeat([0, 1], [10, 50])
    positions = Fixed(mass=(0.5, 0.5)).draw(labels, ClassStats([10, 10]), 0.0, 10_000, generator(0))
    assert abs((labels[positions] == 1).mean() - 0.5) < 0.02
