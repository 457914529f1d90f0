"""Class profiles and the choice of images against published totals, golden subsets and their own algebra."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailwise.core.errors import DataError, UnknownName
from tailwise.data import Pool, class_profile, cut_long_tail, select, synthetic_pool
from tailwise.data.profiles import PROFILES
from tests.helpers import shared_path

# Totals and smallest classes of the ten published CIFAR long-tailed sets.
CIFAR_TOTALS = [
    (10, 10, 20431, 500),
    (10, 20, 17023, 250),
    (10, 50, 13996, 100),
    (10, 100, 12406, 50),
    (10, 200, 11203, 25),
    (100, 10, 19573, 50),
    (100, 20, 15907, 25),
    (100, 50, 12608, 10),
    (100, 100, 10847, 5),
    (100, 200, 9502, 2),
]
PROFILE_NAMES = st.sampled_from(sorted(PROFILES))


@pytest.fixture(scope="module")
def golden() -> Any:
    return np.load(shared_path("golden/lt_subsets.npz"))


@pytest.mark.parametrize(("classes", "factor", "total", "smallest"), CIFAR_TOTALS)
def test_exponential_profile_gives_the_published_cifar_totals(
    classes: int, factor: int, total: int, smallest: int
) -> None:
    counts = class_profile("exponential", classes, 50000 // classes, factor)
    assert counts.dtype == np.int64
    assert (int(counts.sum()), int(counts[-1])) == (total, smallest)


@pytest.mark.parametrize("name", ["exp10", "exp20", "exp50", "exp100", "exp200", "step100"])
@pytest.mark.parametrize("dataset", ["cifar10", "cifar100"])
def test_subset_equals_the_golden_one_index_for_index(golden: Any, dataset: str, name: str) -> None:
    labels = golden[f"{dataset}/targets"].astype(np.int64)
    classes = int(labels.max()) + 1
    profile = "step" if name.startswith("step") else "exponential"
    counts = class_profile(profile, classes, 50000 // classes, float(name.lstrip("expst")))
    np.testing.assert_array_equal(counts, golden[f"{dataset}/{name}/counts"])
    np.testing.assert_array_equal(select(labels, counts, 0), golden[f"{dataset}/{name}/indices"])


def test_cutting_a_balanced_pool_gives_the_golden_subset(golden: Any) -> None:
    labels = golden["cifar10/targets"].astype(np.int64)
    paths = tuple(f"{position}.png" for position in range(labels.size))
    pool = Pool("cifar10", "train", tuple("0123456789"), labels, paths=paths, root=shared_path("golden"))
    index = cut_long_tail(pool, 100, "exponential", None, 0)
    np.testing.assert_array_equal(index.positions, golden["cifar10/exp100/indices"])
    np.testing.assert_array_equal(index.labels, labels[index.positions])


def test_step_profile_keeps_half_of_the_classes_whole() -> None:
    assert class_profile("step", 5, 100, 20).tolist() == [100, 100, 5, 5, 5]


def test_pareto_profile_follows_its_closed_form() -> None:
    counts = class_profile("pareto", 5, 1000, 100)
    end = 100 ** (1 / 7)
    expected = [int(1000 / (1 + k / 4 * (end - 1)) ** 7) for k in range(5)]
    assert counts.tolist() == pytest.approx(expected, abs=1)
    assert counts[1] < class_profile("exponential", 5, 1000, 100)[1]


@pytest.mark.parametrize("name", sorted(PROFILES))
def test_single_class_keeps_all_its_images(name: str) -> None:
    assert class_profile(name, 1, 7, 100).tolist() == [7]


@given(name=PROFILE_NAMES, classes=st.integers(2, 60), largest=st.integers(1, 2000), data=st.data())
def test_profiles_descend_from_the_largest_class_to_its_factor(
    name: str, classes: int, largest: int, data: st.DataObject
) -> None:
    factor = data.draw(st.floats(1, max(1.0, largest / 1.001)))
    counts = class_profile(name, classes, largest, factor)
    assert counts[0] == largest
    assert abs(counts[-1] - largest / factor) <= 1
    assert (np.diff(counts) <= 0).all()
    assert counts[-1] >= 1


@given(name=PROFILE_NAMES, classes=st.integers(2, 30), largest=st.integers(1, 500))
def test_factor_one_keeps_every_image(name: str, classes: int, largest: int) -> None:
    assert class_profile(name, classes, largest, 1).tolist() == [largest] * classes


@given(seed=st.integers(0, 2**32 - 1), small=st.integers(1, 20), large=st.integers(20, 40))
def test_subsets_of_one_seed_are_nested_over_factors(seed: int, small: int, large: int) -> None:
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(3), 40)).astype(np.int64)
    few = select(labels, class_profile("exponential", 3, 40, large), seed)
    many = select(labels, class_profile("exponential", 3, 40, small), seed)
    assert set(few.tolist()) <= set(many.tolist())
    assert np.unique(many).size == many.size
    assert (np.diff(labels[many]) >= 0).all()


def test_other_seed_gives_another_subset() -> None:
    labels = np.repeat(np.arange(2), 50).astype(np.int64)
    counts = class_profile("exponential", 2, 50, 5)
    assert set(select(labels, counts, 0).tolist()) != set(select(labels, counts, 1).tolist())


def test_largest_class_of_the_pool_becomes_the_head() -> None:
    pool = synthetic_pool(3, counts=[10, 40, 20], size=4).train
    index = cut_long_tail(pool, 8, "exponential", None, 0)
    assert index.counts.tolist() == [5, 40, 14]


def test_no_factor_keeps_all_images_in_their_own_order() -> None:
    pool = synthetic_pool(3, counts=[2, 5, 3], size=4).train
    assert cut_long_tail(pool, None).positions.tolist() == list(range(10))


def test_max_per_class_without_a_factor_caps_the_large_classes() -> None:
    pool = synthetic_pool(3, counts=[2, 5, 3], size=4).train
    assert cut_long_tail(pool, None, max_per_class=3).counts.tolist() == [2, 3, 3]


def test_suggested_max_per_class_fits_and_one_more_does_not() -> None:
    pool = synthetic_pool(3, counts=[40, 6, 20], size=4).train
    with pytest.raises(DataError, match=r"'class 1' has 6, needs 10; the largest max_per_class that fits is 27"):
        cut_long_tail(pool, 4)
    assert cut_long_tail(pool, 4, max_per_class=27).counts.tolist() == [27, 6, 13]
    with pytest.raises(DataError, match="that fits is 27"):
        cut_long_tail(pool, 4, max_per_class=28)


def test_pool_with_a_tail_that_no_size_fits_says_so() -> None:
    pool = synthetic_pool(3, counts=[40, 1, 1], size=4).train
    with pytest.raises(DataError, match="no max_per_class fits"):
        cut_long_tail(pool, 20)


@pytest.mark.parametrize(
    ("factor", "message"),
    [
        (0.01, "did you mean 100"),
        (float("nan"), "got nan"),
        (float("inf"), "got inf"),
        (0, "got 0"),
        (-5, "at least 1"),
    ],
)
def test_impossible_factor_is_refused(factor: float, message: str) -> None:
    with pytest.raises(DataError, match=message):
        class_profile("exponential", 10, 100, factor)


@pytest.mark.parametrize("name", sorted(PROFILES))
@pytest.mark.parametrize("largest", [49, 124, 500])
def test_empty_class_names_the_largest_possible_factor(name: str, largest: int) -> None:
    with pytest.raises(DataError, match="the largest possible factor is") as caught:
        class_profile(name, 10, largest, 3 * largest)
    factor = int(str(caught.value).rsplit(" ", 1)[1])
    assert class_profile(name, 10, largest, factor)[-1] == 1
    with pytest.raises(DataError):
        class_profile(name, 10, largest, factor * 1.02 + 1)


def test_unknown_profile_offers_the_nearest() -> None:
    with pytest.raises(UnknownName, match="did you mean 'exponential'"):
        class_profile("exponental", 10, 100, 10)


def test_seed_out_of_range_is_refused() -> None:
    with pytest.raises(DataError, match="subset seed -1"):
        select(np.zeros(3, dtype=np.int64), np.array([1]), -1)
