"""A plan that shows every training image once, so that either data path can hand the whole set out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tailwise.augment.crop_resize import draw_boxes
from tailwise.data.plan import EpochPlan, StreamPlan
from tailwise.engine.recipe import Data


def plain_plan(
    data: Data,
    num_images: int,
    batch: int,
    *,
    sizes: NDArray[np.int64] | None = None,
    rank: int = 0,
    world: int = 1,
    rng: np.random.Generator | None = None,
) -> EpochPlan:
    """This process's share ``rank::world`` of the training images in their order, as one stream ``main``.

    The last batch is filled up with its last image. With random resized crops of packed images (``sizes``) an image is
    shown whole, scaled to a square.

    Args:
        data: Augmentation, padding and flip probability.
        num_images: ``N``.
        batch: Images a step.
        sizes: As for :func:`tailwise.data.plan.make_plan`.
        rank: This process.
        world: Number of processes.
        rng: Draws one crop and flip for every image, as training does; None: no augmentation.
    """
    order = np.arange(num_images)
    random = rng is not None and data.augmentation != "none"
    crop = np.full((num_images, 2), data.padding, dtype=np.int64)
    flip = np.zeros(num_images, dtype=np.bool_)
    box = None if sizes is None else np.concatenate([np.zeros_like(sizes), sizes], axis=1)
    if rng is not None and random:
        if data.augmentation == "pad_crop":
            crop = rng.integers(0, 2 * data.padding + 1, (num_images, 2))
        if sizes is not None:
            box = draw_boxes(sizes, rng)
        flip = rng.random(num_images) < data.flip
    share = order[rank::world]
    steps = -(-len(share) // batch)
    rows = np.concatenate([share, np.full(steps * batch - len(share), share[-1])]).reshape(steps, batch)
    arrays: dict[str, NDArray[Any]] = {"crop": crop, "flip": flip, "item_seed": np.zeros(num_images, dtype=np.int64)}
    if box is not None:
        arrays["box"] = box
    return EpochPlan({"main": StreamPlan(index=rows, **{name: array[rows] for name, array in arrays.items()})}, {})
