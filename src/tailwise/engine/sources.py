"""From prepared data to training batches and to an evaluation split, on the path that fits."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tailwise.data.index import Pool
from tailwise.data.loader import HostSource
from tailwise.data.pack import PackedImages
from tailwise.data.pack_host import PackedHostSource
from tailwise.data.pack_resident import PackedResidentSource
from tailwise.data.pack_square_host import SquareHostSource
from tailwise.data.resident import ResidentSource
from tailwise.data.source import BatchSource
from tailwise.data.transforms import ItemTransform
from tailwise.engine.packed import crops_on_device
from tailwise.engine.prepare import Prepared
from tailwise.engine.recipe import Recipe
from tailwise.engine.runtime import Runtime
from tailwise.evaluation.evaluate import EvaluationSplit
from tailwise.evaluation.packed import PackedSplit


def make_source(recipe: Recipe, prepared: Prepared, runtime: Runtime) -> BatchSource:
    """Training batches: gathered from images on the device, read from a pack, or decoded by workers."""
    index, data, device = prepared.index, recipe.data, runtime.device
    if prepared.train_images is not None:
        return ResidentSource(prepared.train_images, index.labels, device)
    if prepared.pack is not None:
        images, size = prepared.pack.train, data.image_size
        if prepared.resident:
            kind = PackedResidentSource
        else:
            kind = PackedHostSource if crops_on_device(data) else SquareHostSource
        return kind(images, index.positions, index.labels, size=size, workers=data.workers, device=device)
    cropped = data.augmentation == "random_resized_crop"
    return HostSource(
        prepared.splits.train,
        index.positions,
        index.labels,
        size=data.image_size,
        transform=ItemTransform(data.image_size, data.color_jitter) if cropped else None,
        workers=data.workers,
        device=device,
    )


def make_split(recipe: Recipe, prepared: Prepared, runtime: Runtime) -> EvaluationSplit:
    """This process's share of the evaluation images."""
    packed = None if prepared.pack is None else prepared.pack.eval
    return make_evaluation_split(
        recipe, prepared.splits.test, packed, prepared.eval_positions, runtime, prepared.eval_images
    )


def make_evaluation_split(
    recipe: Recipe,
    pool: Pool,
    packed: PackedImages | None,
    positions: NDArray[np.int64],
    runtime: Runtime,
    images: NDArray[np.uint8] | None = None,
    *,
    whole: bool = False,
) -> EvaluationSplit:
    """This process's share of any images, measured as the recipe says.

    Args:
        recipe: Image size, zoom, batch and workers.
        pool: The split.
        packed: Where its images are packed, or None to decode the files.
        positions: int64 ``[M]``, the readable images.
        runtime: Device and process.
        images: uint8 ``[M,3,size,size]`` when they were made before; nothing is read then.
        whole: This process takes all of them, whatever the number of processes.
    """
    share: dict[str, Any] = {
        "size": recipe.data.image_size,
        "batch": recipe.evaluate.batch,
        "workers": recipe.data.workers,
        "device": runtime.device,
        "rank": 0 if whole else runtime.rank,
        "world": 1 if whole else runtime.world,
        "zoom": recipe.data.eval_zoom,
    }
    if packed is None or images is not None:
        return EvaluationSplit(pool, positions, images, **share)
    return PackedSplit(packed, pool, positions, **share)
