"""The adapter for torch's data loader: slices per process, epochs, lengths."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch.utils.data import DataLoader, TensorDataset

from tailwise.core.errors import DataError, RunError
from tailwise.core.spec import frozen
from tailwise.core.stats import ClassStats
from tailwise.samplers import EpochSampler, Power, Sampler

LABELS = np.repeat([0, 1, 2], [20, 7, 3])


@frozen
class FirstToLast(Sampler):
    """Class 0 at the start of training, the last class at its end."""

    def class_mass(self, stats: ClassStats, progress: float) -> NDArray[np.float64]:
        mass = np.zeros(stats.num_classes)
        mass[0] += 1 - progress
        mass[-1] += progress
        return mass


@settings(deadline=None)
@given(world=st.integers(1, 6), steps=st.integers(1, 9), epoch=st.integers(0, 3))
def test_processes_share_one_plan_without_overlap(world: int, steps: int, epoch: int) -> None:
    total = world * steps
    whole = EpochSampler(Power(q=0.5), LABELS, seed=1, num_samples=total)
    whole.set_epoch(epoch)
    plan = list(whole)
    for rank in range(world):
        part = EpochSampler(Power(q=0.5), LABELS, seed=1, num_samples=total, rank=rank, world=world)
        part.set_epoch(epoch)
        assert list(part) == plan[rank::world]
        assert len(part) == steps


def test_shuffling_over_processes_shows_no_image_twice() -> None:
    shown = [list(EpochSampler(Power(), LABELS, seed=0, rank=rank, world=4)) for rank in range(4)]
    # 30 images over 4 processes: 28 are shown, so that no process waits for another.
    assert [len(part) for part in shown] == [7] * 4
    assert len({position for part in shown for position in part}) == 28


def test_an_epoch_is_repeatable_and_differs_from_the_next_and_from_other_seeds() -> None:
    sampler = EpochSampler(Power(), LABELS, seed=0)
    first = list(sampler)
    assert list(sampler) == first
    sampler.set_epoch(1)
    assert list(sampler) != first
    sampler.set_epoch(0)
    assert list(sampler) == first
    assert list(EpochSampler(Power(), LABELS, seed=1)) != first


def test_progress_reaches_the_sampler_and_starts_at_zero() -> None:
    sampler = EpochSampler(FirstToLast(), LABELS, seed=0)
    assert set(LABELS[list(sampler)]) == {0}
    sampler.set_epoch(9, progress=1.0)
    assert set(LABELS[list(sampler)]) == {2}
    sampler.set_epoch(0)
    assert set(LABELS[list(sampler)]) == {0}


def test_a_data_loader_takes_it() -> None:
    data = TensorDataset(torch.arange(30), torch.from_numpy(LABELS))
    loader = DataLoader(data, batch_size=8, sampler=EpochSampler(Power(q=0.0), LABELS, seed=0, num_samples=3000))
    labels = torch.cat([label for _, label in loader])
    assert len(labels) == 3000
    assert (labels.bincount() / 3000 - 1 / 3).abs().max() < 0.03


@pytest.mark.parametrize("labels", [torch.from_numpy(LABELS), LABELS.tolist(), LABELS.astype(np.uint8)])
def test_labels_may_be_given_in_any_usual_form(labels: object) -> None:
    assert list(EpochSampler(Power(), labels, seed=0)) == list(EpochSampler(Power(), LABELS, seed=0))


def test_arguments_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(RunError, match="got 3 of 3"):
        EpochSampler(Power(), LABELS, seed=0, rank=3, world=3)
    with pytest.raises(RunError, match=r"multiple of the 4 processes.*got 30; did you mean 28\?"):
        EpochSampler(Power(), LABELS, seed=0, num_samples=30, world=4)
    with pytest.raises(RunError, match=r"got 0; did you mean 1\?"):
        EpochSampler(Power(), LABELS, seed=0, num_samples=0)
    with pytest.raises(RunError, match=r"progress in \[0, 1\], got 0 and 1.5"):
        EpochSampler(Power(), LABELS, seed=0).set_epoch(0, 1.5)
    with pytest.raises(DataError, match="whole numbers"):
        EpochSampler(Power(), [0.5, 1.0], seed=0)
    with pytest.raises(DataError, match=r"1 of 3 classes have no images \(labels \[1\]\)"):
        EpochSampler(Power(), [0, 2, 2], seed=0)
