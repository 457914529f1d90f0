"""A plan that shows every image once, whole, whatever the processes."""

from __future__ import annotations

import numpy as np
import pytest

from tailwise.engine.recipe import Data
from tailwise.precompute.plain_plan import plain_plan


@pytest.mark.parametrize(("images", "batch", "world"), [(10, 4, 1), (10, 4, 3), (5, 5, 2), (7, 7, 1)])
def test_processes_together_show_every_image_in_order(images: int, batch: int, world: int) -> None:
    shares = [plain_plan(Data(), images, batch, rank=rank, world=world).streams["main"].index for rank in range(world)]
    for rank, index in enumerate(shares):
        own = np.arange(images)[rank::world]
        assert index.shape[1] == batch
        assert index.ravel()[: len(own)].tolist() == own.tolist()
        assert (index.ravel()[len(own) :] == own[-1]).all()


def test_without_a_generator_nothing_is_cut_or_mirrored() -> None:
    sizes = np.array([[20, 30], [40, 25]])
    main = plain_plan(Data(padding=3), 2, 2, sizes=sizes).streams["main"]
    assert (main.crop == 3).all()
    assert not main.flip.any()
    assert main.box is not None
    assert main.box.tolist() == [[[0, 0, 20, 30], [0, 0, 40, 25]]]


@pytest.mark.parametrize("augmentation", ["pad_crop", "random_resized_crop", "none"])
def test_other_crops_are_those_of_the_training(augmentation: str) -> None:
    data = Data(padding=3, augmentation=augmentation)  # pyright: ignore[reportArgumentType]
    sizes = np.full((200, 2), 30) if augmentation == "random_resized_crop" else None
    main = plain_plan(data, 200, 50, sizes=sizes, rng=np.random.default_rng(0)).streams["main"]
    assert (0.3 < main.flip.mean() < 0.7) == (augmentation != "none")
    assert (np.unique(main.crop).size == 7) == (augmentation == "pad_crop")
    assert (main.box is not None and np.unique(main.box[..., 2]).size > 5) == (sizes is not None)
    # An image that fills up the last batch has the same crop as before.
    short = plain_plan(data, 199, 50, sizes=None if sizes is None else sizes[:199], rng=np.random.default_rng(0))
    assert (short.streams["main"].crop[-1, -1] == short.streams["main"].crop[-1, -2]).all()
