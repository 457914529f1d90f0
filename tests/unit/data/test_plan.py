from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tailwise.core.stats import ClassStats
from tailwise.data.plan import EpochPlan, make_plan
from tailwise.engine.recipe import Data, Optim, Stage, Stream
from tailwise.samplers.power import Power

LABELS = np.repeat(np.arange(4), [40, 20, 10, 5])
STATS = ClassStats([40, 20, 10, 5])


def plan(stage: Stage | None = None, data: Data | None = None, **changes: int) -> EpochPlan:
    where = {"seed": 0, "stage_number": 0, "epoch": 0, "steps": 6, **changes}
    stage = stage or Stage(streams={"main": Stream(batch=12)}, optim=Optim())
    return make_plan(stage, data or Data(), LABELS, STATS, progress=0.0, **where)


def same(left: EpochPlan, right: EpochPlan) -> bool:
    pairs = [(left.streams[name], right.streams[name]) for name in left.streams]
    return all(
        np.array_equal(getattr(a, f), getattr(b, f)) for a, b in pairs for f in ("index", "crop", "flip", "item_seed")
    )


def test_a_plan_depends_only_on_seed_stage_and_epoch() -> None:
    assert same(plan(), plan())
    for change in ({"seed": 1}, {"stage_number": 1}, {"epoch": 1}):
        assert not same(plan(), plan(**change))


@settings(max_examples=20)
@given(st.sampled_from([1, 2, 3, 4, 6, 12]))
def test_rank_slices_are_disjoint_and_complete(world: int) -> None:
    whole = plan().streams["main"]
    slices = [plan().rank_slice(rank, world).streams["main"] for rank in range(world)]
    rebuilt = np.empty_like(whole.index)
    for rank, part in enumerate(slices):
        rebuilt[:, rank::world] = part.index
        assert np.array_equal(part.crop, whole.crop[:, rank::world])
        assert np.array_equal(part.flip, whole.flip[:, rank::world])
    assert np.array_equal(rebuilt, whole.index)


def test_an_epoch_without_replacement_shows_no_image_twice() -> None:
    index = plan().streams["main"].index
    assert len(np.unique(index)) == index.size == 72


def test_a_second_stream_leaves_the_first_one_as_it_was() -> None:
    both = Stage(streams={"main": Stream(batch=12), "balanced": Stream(sampler=Power(q=0.0), batch=8)}, optim=Optim())
    assert np.array_equal(plan(both).streams["main"].index, plan().streams["main"].index)
    assert plan(both).streams["balanced"].index.shape == (6, 8)


@pytest.mark.parametrize(
    ("augmentation", "moves", "flips"),
    [("pad_crop", True, True), ("random_resized_crop", False, True), ("none", False, False)],
)
def test_draws_follow_the_augmentation(augmentation: str, moves: bool, flips: bool) -> None:
    stream = plan(data=Data(augmentation=augmentation)).streams["main"]  # pyright: ignore[reportArgumentType]
    assert bool((stream.crop != 4).any()) == moves
    assert bool(stream.flip.any()) == flips
    assert stream.crop.min() >= 0
    assert stream.crop.max() <= 8
