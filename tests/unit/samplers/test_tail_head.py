"""Head, tail and confusing classes: the sizes of the paper's data sets, what is drawn, and what is refused."""

from __future__ import annotations

import tarfile
from typing import Any

import numpy as np
import pytest

from tailwise.core.errors import TailwiseError
from tailwise.core.stats import ClassStats
from tailwise.data.profiles import exponential
from tailwise.samplers.confusing_classes import ConfusingClasses
from tailwise.samplers.head_classes import HeadClasses
from tailwise.samplers.tail_classes import TailClasses
from tests.helpers import shared_path

STATS = ClassStats([60, 5, 40, 3, 12])
LABELS = np.repeat(np.arange(5), STATS.counts)
CONFUSING = np.array([[2, 4, 1], [0, 2, 3], [0, 1, 4], [1, 0, 2], [2, 0, 3]])


@pytest.mark.parametrize(
    ("classes", "factor", "head", "share", "tail_images", "at_95"),
    [
        (10, 10, 7, 0.9031, 1979, 9),
        (10, 20, 7, 0.9363, 1084, 8),
        (10, 50, 6, 0.9386, 860, 7),
        (10, 100, 5, 0.9282, 891, 6),
        (10, 200, 4, 0.9077, 1034, 5),
        (100, 10, 72, 0.9010, 1937, 84),
        (100, 20, 64, 0.9004, 1585, 78),
        (100, 50, 54, 0.9004, 1256, 68),
        (100, 100, 48, 0.9032, 1050, 61),
        (100, 200, 42, 0.9010, 941, 54),
    ],
)
def test_head_classes_of_the_long_tailed_cifar_sets(
    classes: int, factor: int, head: int, share: float, tail_images: int, at_95: int
) -> None:
    stats = ClassStats(exponential(classes, 50_000 // classes, factor))
    assert stats.num_head(0.9) == head
    held = stats.counts[stats.by_frequency[:head]].sum()
    assert round(held / stats.num_images, 4) == share
    assert stats.num_images - held == tail_images
    assert stats.num_head(0.95) == at_95
    assert stats.is_tail(0.9).sum() == classes - head
    assert stats.counts[stats.is_tail(0.9)].sum() == tail_images


def test_head_classes_of_places_lt() -> None:
    with tarfile.open(shared_path("data/lists.tar.xz")) as archive:
        (name,) = [name for name in archive.getnames() if name.endswith("Places_LT_train.txt")]
        file = archive.extractfile(name)
        assert file is not None
        labels = [int(line.split()[-1]) for line in file.read().decode().splitlines()]
    stats = ClassStats(np.bincount(labels))
    assert stats.num_images == 62_500
    assert (stats.num_head(0.9), stats.num_head(0.95)) == (170, 222)


def test_the_head_is_the_least_number_of_classes_with_the_share() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        counts = rng.integers(1, 50, rng.integers(2, 20))
        stats, share = ClassStats(counts), float(rng.uniform(0.05, 1.0))
        ordered = sorted(counts.tolist(), reverse=True)
        expected = next(h for h in range(1, len(ordered) + 1) if sum(ordered[:h]) >= share * counts.sum() - 1e-9)
        assert stats.num_head(share) == expected
    assert ClassStats([9, 1]).num_head(0.9) == 1
    assert ClassStats([7, 2, 1]).num_head(0.7) == 1


def test_tail_and_head_draw_their_classes_only_and_by_what_they_say() -> None:
    def drawn(sampler: Any) -> Any:
        found = sampler.draw(LABELS, STATS, 0.0, 4000, np.random.default_rng(0))
        return np.bincount(LABELS[found], minlength=5) / 4000

    # 60 + 40 of 120 hold five sixths; with the 12 it is 112 of 120.
    assert STATS.is_tail(0.9).tolist() == [False, True, False, True, False]
    np.testing.assert_allclose(drawn(TailClasses()), [0, 1 / 2, 0, 1 / 2, 0], atol=0.03)
    np.testing.assert_allclose(drawn(TailClasses(by="image")), [0, 5 / 8, 0, 3 / 8, 0], atol=0.03)
    np.testing.assert_allclose(drawn(HeadClasses()), [60 / 112, 0, 40 / 112, 0, 12 / 112], atol=0.03)
    np.testing.assert_allclose(drawn(HeadClasses(by="class")), [1 / 3, 0, 1 / 3, 0, 1 / 3], atol=0.03)


@pytest.mark.parametrize(("found", "each"), [(3, 3), (3, 2), (2, 3), (1, 4)])
def test_confusing_images_belong_to_the_class_beside_them(found: int, each: int) -> None:
    steps, tail = 50, 4
    rng = np.random.default_rng(1)
    beside = TailClasses().draw(LABELS, STATS, 0.0, steps * tail, rng).reshape(steps, tail)
    sampler = ConfusingClasses(num_classes=found)
    index = sampler.draw_beside({"tail": beside}, (steps, tail * each), LABELS, STATS, 0.0, rng, CONFUSING)
    assert index.shape == (steps, tail * each)
    for step in range(steps):
        for place in range(tail):
            own = int(LABELS[beside[step, place]])
            classes = LABELS[index[step, place::tail]].tolist()
            allowed = CONFUSING[own, :found].tolist()
            assert own not in classes
            assert set(classes) <= set(allowed)
            # Every confusing class once before one returns.
            assert len(set(classes)) == min(found, each)
    assert len(np.unique(index)) > 20


def test_confusing_classes_need_a_classifier() -> None:
    with pytest.raises(ValueError, match="needs 3 confusing classes of every class, got None"):
        ConfusingClasses().draw_beside(
            {"tail": np.zeros((1, 2), np.int64)}, (1, 6), LABELS, STATS, 0.0, np.random.default_rng(0)
        )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TailClasses(share=0.0), "share (h_r) must be above 0 and below 1, got 0.0"),
        (lambda: TailClasses(share=1.0), "share (h_r) must be above 0 and below 1, got 1.0"),
        (lambda: HeadClasses(share=1.5), "share (h_r) must be above 0 and below 1, got 1.5"),
        (lambda: HeadClasses(by="label"), "by must be class or image, got 'label'"),  # pyright: ignore[reportArgumentType]
        (lambda: ConfusingClasses(num_classes=0), "num_classes (N_f) must be at least 1, got 0"),
    ],
)
def test_values_out_of_range_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError) as error:
        make()
    assert str(error.value) == message


@pytest.mark.parametrize("sampler", [TailClasses(share=0.98), HeadClasses(share=0.98)])
def test_data_without_a_tail_class_are_refused(sampler: Any) -> None:
    with pytest.raises(TailwiseError) as error:
        sampler.check(STATS, 8, {})
    assert str(error.value) == (
        "h_r (share) = 0.98 leaves no tail class: all 5 classes are needed to hold that share of the images; at most "
        "0.975 leaves one here"
    )
    assert STATS.num_head(0.975) == 4


@pytest.mark.parametrize(
    ("sampler", "batch", "earlier", "message"),
    [
        (
            ConfusingClasses(num_classes=5),
            8,
            {"tail": 4},
            "N_f (num_classes) = 5 confusing classes, but a class has 4 other classes here; at most 4",
        ),
        (
            ConfusingClasses(),
            9,
            {"tail": 4},
            "a stream of confusing classes needs a multiple of the 4 images of stream 'tail', got 9; the nearest that "
            "works is 8",
        ),
        (
            ConfusingClasses(beside="tails"),
            8,
            {"tail": 4},
            "unknown earlier stream of the stage 'tails'; did you mean 'tail'?; allowed: tail",
        ),
    ],
)
def test_a_stage_that_does_not_fit_is_refused(
    sampler: ConfusingClasses, batch: int, earlier: dict[str, int], message: str
) -> None:
    with pytest.raises(TailwiseError) as error:
        sampler.check(STATS, batch, earlier)
    assert str(error.value) == message
