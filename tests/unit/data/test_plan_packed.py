from __future__ import annotations

import numpy as np

from tailwise.augment.crop_resize import draw_boxes
from tailwise.core.rng import generator
from tailwise.core.stats import ClassStats
from tailwise.data.plan import EpochPlan, make_plan
from tailwise.engine.recipe import Data, Optim, Stage, Stream
from tailwise.samplers.power import Power

LABELS = np.repeat(np.arange(4), [40, 20, 10, 5])
STATS = ClassStats([40, 20, 10, 5])
SIZES = np.random.default_rng(0).integers(20, 60, (75, 2))
STAGE = Stage(streams={"main": Stream(batch=12), "balanced": Stream(sampler=Power(q=0.0), batch=8)}, optim=Optim())
ALWAYS = {"index", "label", "crop", "flip"}


def plan(jitter: float = 0.4, *, packed: bool = True, seed: int = 0) -> EpochPlan:
    data = Data(augmentation="random_resized_crop", color_jitter=jitter)
    return make_plan(
        STAGE,
        data,
        LABELS,
        STATS,
        seed=seed,
        stage_number=1,
        epoch=2,
        progress=0.0,
        steps=5,
        sizes=SIZES if packed else None,
    )


def test_boxes_are_drawn_for_the_images_that_are_shown() -> None:
    for name, stream in plan().streams.items():
        expected = draw_boxes(SIZES[stream.index], generator(0, 1, 2, f"{name}/box"))
        assert stream.box is not None
        assert stream.jitter is not None
        assert stream.jitter_order is not None
        assert np.array_equal(stream.box, expected)
        assert stream.jitter.shape == (*stream.index.shape, 3)
        assert 0.6 <= stream.jitter.min() < 0.7 < 1.3 < stream.jitter.max() <= 1.4
        assert (np.sort(stream.jitter_order, axis=-1) == [0, 1, 2]).all()


def test_what_was_drawn_before_stays_as_it_was() -> None:
    for name, stream in plan(packed=False).streams.items():
        there = plan().streams[name]
        for field in ("index", "crop", "flip", "item_seed"):
            assert np.array_equal(getattr(stream, field), getattr(there, field))
        assert stream.box is None
        assert stream.jitter is None
        assert stream.jitter_order is None


def test_device_arrays_hold_what_was_drawn() -> None:
    stream = plan().streams["main"]
    arrays = stream.device_arrays(LABELS)
    assert arrays.keys() == ALWAYS | {"box", "jitter", "jitter_order"}
    assert np.array_equal(arrays["label"], LABELS[stream.index])
    assert {array.shape[:2] for array in arrays.values()} == {(5, 12)}
    assert plan(0.0).streams["main"].device_arrays(LABELS).keys() == ALWAYS | {"box"}
    assert plan(packed=False).streams["main"].device_arrays(LABELS).keys() == ALWAYS


def test_rank_slices_take_their_share_of_every_array() -> None:
    whole = plan().streams["balanced"].device_arrays(LABELS)
    for rank in range(4):
        part = plan().rank_slice(rank, 4).streams["balanced"].device_arrays(LABELS)
        assert part.keys() == whole.keys()
        for name, array in part.items():
            assert np.array_equal(array, whole[name][:, rank::4]), name


def test_seeds_give_other_boxes_and_other_colours() -> None:
    first, second = plan(seed=0).streams["main"], plan(seed=1).streams["main"]
    for name in ("box", "jitter", "jitter_order"):
        assert not np.array_equal(getattr(first, name), getattr(second, name))
