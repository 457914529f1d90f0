"""Shot protocols against the printed rules and group sizes."""

from __future__ import annotations

import tarfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailwise.core.errors import DataError, UnknownName
from tailwise.evaluation.shots import GROUPS, SHOT_PROTOCOLS, shot_groups
from tests.helpers import shared_path

EDGE_COUNTS = [19, 20, 21, 99, 100, 101]


def sizes(protocol: str, counts: list[int]) -> tuple[int, ...]:
    return tuple(int(mask.sum()) for mask in shot_groups(protocol, counts).values())


def cifar_counts(classes: int, factor: int) -> list[int]:
    return [int(50000 / classes * (1 / factor) ** (k / (classes - 1))) for k in range(classes)]


@pytest.mark.parametrize(
    ("protocol", "groups"),
    [
        ("oltr", "few few medium medium many many"),
        ("kang", "few medium medium medium medium many"),
        ("fsa", "few none medium medium medium many"),
        ("fsa_unofficial", "few few medium medium medium many"),
        ("thirds", "few few medium medium many many"),
        ("reslt", "few few medium medium many many"),
    ],
)
def test_boundary_counts_fall_into_the_printed_group(protocol: str, groups: str) -> None:
    masks = shot_groups(protocol, EDGE_COUNTS)
    found = [next((name for name in GROUPS if masks[name][c]), "none") for c in range(len(EDGE_COUNTS))]
    assert found == groups.split()


@pytest.mark.parametrize(
    ("classes", "factor", "kang", "oltr"),
    [
        (10, 10, (10, 0, 0), (10, 0, 0)),
        (10, 20, (10, 0, 0), (10, 0, 0)),
        (10, 50, (9, 1, 0), (10, 0, 0)),
        (10, 100, (8, 2, 0), (8, 2, 0)),
        (10, 200, (7, 3, 0), (7, 3, 0)),
        (100, 10, (69, 31, 0), (70, 30, 0)),
        (100, 20, (53, 47, 0), (54, 46, 0)),
        (100, 50, (41, 41, 18), (41, 40, 19)),
        (100, 100, (35, 35, 30), (35, 34, 31)),
        (100, 200, (30, 31, 39), (31, 29, 40)),
    ],
)
def test_cifar_group_sizes(classes: int, factor: int, kang: tuple[int, ...], oltr: tuple[int, ...]) -> None:
    counts = cifar_counts(classes, factor)
    assert sizes("kang", counts) == kang
    assert sizes("oltr", counts) == oltr
    assert sizes("reslt", counts) == {10: (3, 3, 4), 100: (35, 35, 30)}[classes]
    assert sizes("thirds", counts) == {10: (3, 3, 4), 100: (33, 33, 34)}[classes]


def test_imagenet_lt_group_sizes_follow_from_its_known_ranks() -> None:
    # (rank from the rarest, count) as published; in between any monotone counts give the same groups.
    known = [(1, 5), (136, 19), (137, 20), (146, 20), (147, 21), (609, 99), (610, 100), (615, 100), (616, 101)]
    ranks, counts = zip(*known, (1000, 1280), strict=True)
    profile = np.floor(np.interp(np.arange(1, 1001), ranks, counts)).astype(int).tolist()
    assert sizes("kang", profile) == (385, 479, 136)
    assert sizes("oltr", profile) == (391, 463, 146)
    assert sizes("fsa", profile) == (385, 469, 136)
    assert sizes("fsa_unofficial", profile) == (385, 469, 146)
    assert sizes("reslt", profile) == (390, 445, 165)


def test_places_lt_group_sizes_from_the_distributed_list() -> None:
    with tarfile.open(shared_path("data/lists.tar.xz")) as archive:
        member = archive.extractfile("Places_LT_train.txt")
        assert member is not None
        labels = [int(line.split()[-1]) for line in member.read().decode().splitlines() if line]
    counts = np.bincount(labels).tolist()
    assert (len(counts), len(labels)) == (365, 62500)
    assert sizes("kang", counts) == (131, 163, 71)
    assert sizes("oltr", counts) == (132, 156, 77)


def test_reslt_inaturalist_split_is_by_rank() -> None:
    assert sizes("reslt", list(range(1, 8143))) == (842, 3701, 3599)


def test_equal_counts_keep_label_order() -> None:
    masks = shot_groups("thirds", [7] * 10)
    assert np.flatnonzero(masks["many"]).tolist() == [0, 1, 2]
    assert np.flatnonzero(masks["medium"]).tolist() == [3, 4, 5]


@given(
    counts=st.lists(st.integers(1, 300), min_size=2, max_size=60),
    protocol=st.sampled_from(sorted(SHOT_PROTOCOLS)),
    seed=st.integers(0, 99),
)
def test_groups_are_disjoint_ordered_and_follow_their_class(counts: list[int], protocol: str, seed: int) -> None:
    masks = shot_groups(protocol, counts)
    member = np.stack(list(masks.values())).sum(axis=0)
    assert member.max() <= 1
    outside = np.asarray(counts)[member == 0]
    assert (outside == 20).all() if protocol == "fsa" else outside.size == 0
    for larger, smaller in (("many", "medium"), ("medium", "few"), ("many", "few")):
        if masks[larger].any() and masks[smaller].any():
            assert np.asarray(counts)[masks[larger]].min() >= np.asarray(counts)[masks[smaller]].max()
    if protocol in ("oltr", "kang", "fsa", "fsa_unofficial"):
        order = np.random.default_rng(seed).permutation(len(counts))
        shuffled = shot_groups(protocol, np.asarray(counts)[order])
        assert all(np.array_equal(shuffled[name], masks[name][order]) for name in GROUPS)


def test_an_unknown_protocol_names_the_nearest_one() -> None:
    with pytest.raises(UnknownName, match="did you mean 'oltr'"):
        shot_groups("olt", EDGE_COUNTS)


def test_a_class_without_training_images_is_refused() -> None:
    with pytest.raises(DataError, match="no images"):
        shot_groups("oltr", [5, 0, 3])


def test_every_protocol_states_its_rule_and_source() -> None:
    assert list(SHOT_PROTOCOLS) == ["oltr", "kang", "fsa", "fsa_unofficial", "thirds", "reslt"]
    assert all(protocol.rule and protocol.source for protocol in SHOT_PROTOCOLS.values())
    with pytest.raises(TypeError):
        SHOT_PROTOCOLS["own"] = SHOT_PROTOCOLS["oltr"]  # type: ignore[index]
