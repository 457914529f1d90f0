"""From prepared data to training batches and to an evaluation split, on the path that fits."""

from __future__ import annotations

from tailwise.data.loader import HostSource
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
            return PackedResidentSource(images, index.positions, index.labels, size=size, device=device)
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
    if prepared.pack is not None and prepared.eval_images is None:
        return PackedSplit(
            prepared.pack.eval,
            prepared.splits.test,
            prepared.eval_positions,
            size=recipe.data.image_size,
            batch=recipe.evaluate.batch,
            workers=recipe.data.workers,
            device=runtime.device,
            rank=runtime.rank,
            world=runtime.world,
            zoom=recipe.data.eval_zoom,
        )
    return EvaluationSplit(
        prepared.splits.test,
        prepared.eval_positions,
        prepared.eval_images,
        size=recipe.data.image_size,
        batch=recipe.evaluate.batch,
        workers=recipe.data.workers,
        device=runtime.device,
        rank=runtime.rank,
        world=runtime.world,
        zoom=recipe.data.eval_zoom,
    )
