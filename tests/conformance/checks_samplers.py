"""What every sampler must do. Each check takes a sampler with any hyper-parameters and raises when it does not."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats as statistics

from tailwise.core.rng import generator
from tailwise.core.stats import ClassStats
from tailwise.samplers.base import Sampler
from tailwise.samplers.torch_sampler import EpochSampler
from tests.conformance.cases import check_record as check_component_record

#: All different and not sorted.
COUNTS = (37, 200, 3, 90, 12)
STATS = ClassStats(COUNTS)
PROGRESS = (0.0, 0.5, 1.0)
#: Tests at a fixed seed; a right sampler falls below with this probability when the seed is changed.
RARE = 1e-4


def labels() -> NDArray[np.int64]:
    """Labels in random order, which no sampler may write to."""
    array = np.random.default_rng(1).permutation(np.repeat(np.arange(len(COUNTS)), COUNTS))
    array.setflags(write=False)
    return array


def check_positions(sampler: Sampler) -> None:
    """Any number of draws gives that many positions inside the data set, the sampler's own number among them."""
    own = sampler.epoch_size(STATS)
    assert isinstance(own, int)
    assert own >= 1
    for n in (0, 1, len(labels()), 2 * len(labels()) + 3, own):
        for progress in PROGRESS:
            positions = sampler.draw(labels(), STATS, progress, n, generator(0, n))
            assert positions.dtype == np.int64
            assert positions.shape == (n,)
            assert ((positions >= 0) & (positions < len(labels()))).all()


def check_mass(sampler: Sampler) -> None:
    """The class mass is one probability per class and follows a renumbering of the classes."""
    order = np.random.default_rng(2).permutation(len(COUNTS))
    for progress in PROGRESS:
        mass = sampler.class_mass(STATS, progress)
        assert mass.shape == (len(COUNTS),)
        assert mass.dtype == np.float64
        assert (mass >= 0).all()
        assert abs(mass.sum() - 1) < 1e-12
        renumbered = sampler.class_mass(ClassStats(STATS.counts[order]), progress)
        np.testing.assert_allclose(renumbered, mass[order], rtol=1e-12)


def check_class_shares(sampler: Sampler) -> None:
    """The share of every class among many draws is its mass (chi-square)."""
    for progress in PROGRESS:
        positions = sampler.draw(labels(), STATS, progress, 20_000, generator(4, "shares"))
        drawn = np.bincount(labels()[positions], minlength=len(COUNTS))
        expected = sampler.class_mass(STATS, progress) * 20_000
        assert (drawn[expected == 0] == 0).all()
        positive = expected > 0
        assert statistics.chisquare(drawn[positive], expected[positive]).pvalue > RARE


def check_image_shares(sampler: Sampler) -> None:
    """Every image of a class is drawn equally often over many epochs (chi-square).

    The epochs are as short as the smallest balanced set, because a sampler may keep to some images within one epoch.
    """
    short = len(COUNTS) * min(COUNTS)
    epochs = [sampler.draw(labels(), STATS, 0.5, short, generator(5, epoch)) for epoch in range(1500)]
    drawn = np.bincount(np.concatenate(epochs), minlength=len(labels()))
    for label in range(len(COUNTS)):
        of_class = drawn[labels() == label]
        if of_class.sum() > 5 * of_class.size:
            assert statistics.chisquare(of_class).pvalue > RARE


def check_pool_may_grow(sampler: Sampler) -> None:
    """Probabilities come from the counts that are given, also when a class has more images than that."""
    grown = np.concatenate([labels(), np.full(500, 2)])
    positions = sampler.draw(grown, STATS, 0.5, 20_000, generator(6, "grown"))
    assert (positions >= len(labels())).any()
    assert (positions < len(grown)).all()


def check_deterministic(sampler: Sampler) -> None:
    """The given generator is the only source of randomness, and it is used."""
    global_state = str(np.random.get_state()), torch.get_rng_state()
    first = sampler.draw(labels(), STATS, 0.5, 100, generator(0, 1, 2))
    np.random.default_rng().random()
    np.testing.assert_array_equal(first, sampler.draw(labels(), STATS, 0.5, 100, generator(0, 1, 2)))
    for other in (generator(1, 1, 2), generator(0, 2, 2), generator(0, 1, 3)):
        assert (first != sampler.draw(labels(), STATS, 0.5, 100, other)).any()
    assert str(np.random.get_state()) == global_state[0]
    assert torch.equal(torch.get_rng_state(), global_state[1])


def check_rank_slices(sampler: Sampler) -> None:
    """Processes share one plan: their slices are disjoint, complete and the same plan for any number of them."""
    whole = list(EpochSampler(sampler, labels(), seed=7, num_samples=120))
    for world in (2, 3, 4):
        merged = [-1] * 120
        for rank in range(world):
            part = EpochSampler(sampler, labels(), seed=7, num_samples=120, rank=rank, world=world)
            assert len(part) == len(list(part)) == 120 // world
            merged[rank::world] = list(part)
        assert merged == whole


def check_record(sampler: Sampler) -> None:
    """The sampler survives pickle, YAML and plain data."""
    check_component_record(sampler, Sampler)


CHECKS = (
    check_positions,
    check_mass,
    check_class_shares,
    check_image_shares,
    check_pool_may_grow,
    check_deterministic,
    check_rank_slices,
    check_record,
)
