"""The adapter for torch's data loader: slices per process, epochs, lengths."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
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


def batches(sampler: EpochSampler, size: int, *, drop_last: bool = False) -> list[list[int]]:
    loader = DataLoader(range(len(LABELS)), batch_size=size, sampler=sampler, drop_last=drop_last)  # type: ignore[arg-type]
    return [batch.tolist() for batch in loader]


@given(
    world=st.integers(1, 5),
    size=st.integers(1, 7),
    share=st.integers(1, 20),
    epoch=st.integers(0, 2),
    q=st.sampled_from([0.0, 0.5, 1.0]),
    drop_last=st.booleans(),
)
def test_batches_of_all_processes_are_together_the_batch_of_one_process(
    world: int, size: int, share: int, epoch: int, q: float, drop_last: bool
) -> None:
    """The k-th batches of size b hold exactly the k-th batch of size b * world, the short last one included."""

    def sampler(rank: int, of: int) -> EpochSampler:
        made = EpochSampler(Power(q=q), LABELS, seed=5, num_samples=share * world, rank=rank, world=of)
        made.set_epoch(epoch)
        return made

    whole = batches(sampler(0, 1), size * world, drop_last=drop_last)
    parts = [batches(sampler(rank, world), size, drop_last=drop_last) for rank in range(world)]
    assert len(whole) == len(parts[0])
    for number, batch in enumerate(whole):
        assert [len(part[number]) for part in parts] == [len(batch) // world] * world
        for rank, part in enumerate(parts):
            assert part[number] == batch[rank::world]


@given(world=st.sampled_from([1, 2, 3, 6]), other=st.sampled_from([1, 2, 3, 6]), done=st.integers(0, 5))
def test_a_resume_in_mid_epoch_goes_on_where_the_processes_stopped(world: int, other: int, done: int) -> None:
    def samplers(of: int) -> list[EpochSampler]:
        return [EpochSampler(Power(q=0.0), LABELS, seed=3, num_samples=36, rank=rank, world=of) for rank in range(of)]

    before = samplers(world)
    for sampler in before:
        sampler.set_epoch(4, 0.5)
        iterator = iter(sampler)
        for _ in range(done * 6 // world):
            next(iterator)
    plan = before[0].plan()
    after = samplers(other)
    rest = []
    for sampler in after:
        sampler.load_state_dict(before[-1].state_dict())
        sampler.set_epoch(4, 0.5)  # as a loop does at the beginning of the epoch; what was loaded stays
        rest.append(list(sampler))
    assert [rest[i % other][i // other] for i in range(36 - done * 6)] == plan[done * 6 :].tolist()
    again = list(after[0])
    assert again == plan[0::other].tolist()  # the iteration after that is a whole epoch


def test_start_leaves_out_what_was_used_and_only_once() -> None:
    sampler = EpochSampler(Power(), LABELS, seed=0)
    whole = list(sampler)
    sampler.set_epoch(0, start=8)
    assert list(sampler) == whole[8:]
    assert len(sampler) == len(whole)
    assert list(sampler) == whole
    sampler.set_epoch(0, start=8)
    sampler.set_epoch(1)
    assert len(list(sampler)) == len(whole)


def test_state_counts_what_was_given_not_what_is_left() -> None:
    sampler = EpochSampler(Power(), LABELS, seed=0, rank=1, world=2)
    sampler.set_epoch(2, 0.25)
    iterator = iter(sampler)
    assert sampler.state_dict()["position"] == 0
    for _ in range(4):
        next(iterator)
    assert sampler.state_dict() == {"seed": 0, "num_samples": 30, "epoch": 2, "progress": 0.25, "position": 8}


def test_a_state_that_does_not_fit_is_refused() -> None:
    sampler = EpochSampler(Power(), LABELS, seed=0, num_samples=24)
    state = sampler.state_dict() | {"position": 9}
    with pytest.raises(RunError, match=r"the state is of a sampler with seed 0, not 1"):
        EpochSampler(Power(), LABELS, seed=1, num_samples=24).load_state_dict(state)
    with pytest.raises(RunError, match=r"the state is of a sampler with num_samples 24, not 30"):
        EpochSampler(Power(), LABELS, seed=0).load_state_dict(state)
    with pytest.raises(RunError, match=r"9 positions have been used, which 2 processes cannot have shared evenly"):
        EpochSampler(Power(), LABELS, seed=0, num_samples=24, rank=0, world=2).load_state_dict(state)
    with pytest.raises(RunError, match=r"start must be from 0 to the 24 positions of this process, got 25"):
        sampler.set_epoch(0, start=25)


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


def test_persistent_workers_see_every_epoch() -> None:
    data = TensorDataset(torch.arange(30))
    sampler = EpochSampler(Power(), LABELS, seed=0)
    loader = DataLoader(data, batch_size=10, sampler=sampler, num_workers=1, persistent_workers=True)
    shown: list[list[int]] = []
    for epoch in range(3):
        sampler.set_epoch(epoch)
        shown.append([int(position) for (batch,) in loader for position in batch])
        assert shown[-1] == sampler.plan().tolist()
    assert shown[0] != shown[1] != shown[2]


def test_a_process_group_gives_rank_and_world_and_explicit_values_win(monkeypatch: pytest.MonkeyPatch) -> None:
    early = EpochSampler(Power(), LABELS, seed=0)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 2)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 3)
    sampler = EpochSampler(Power(), LABELS, seed=0)
    assert (sampler.rank, sampler.world, len(sampler)) == (2, 3, 10)
    assert list(sampler) == list(early.plan()[2::3])
    given_place = EpochSampler(Power(), LABELS, seed=0, rank=0, world=1)
    assert list(given_place) == list(early.plan())
    with pytest.raises(RunError, match=r"made for process 0 of 1, but torch.distributed says 2 of 3; make it after"):
        iter(early)


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
        EpochSampler(Power(), LABELS, seed=0, num_samples=30, rank=0, world=4)
    with pytest.raises(RunError, match="give both rank and world, or neither; got rank None and world 4"):
        EpochSampler(Power(), LABELS, seed=0, world=4)
    with pytest.raises(RunError, match=r"got 0; did you mean 1\?"):
        EpochSampler(Power(), LABELS, seed=0, num_samples=0)
    with pytest.raises(RunError, match=r"progress in \[0, 1\], got 0 and 1.5"):
        EpochSampler(Power(), LABELS, seed=0).set_epoch(0, 1.5)
    with pytest.raises(DataError, match="whole numbers"):
        EpochSampler(Power(), [0.5, 1.0], seed=0)
    with pytest.raises(DataError, match=r"1 of 3 classes have no images \(labels \[1\]\)"):
        EpochSampler(Power(), [0, 2, 2], seed=0)
