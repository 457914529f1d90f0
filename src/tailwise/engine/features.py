"""Features of a run's training images, for changes of the classifier that read them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tailwise.data.index import LongTailIndex, Pool
from tailwise.data.pack import PackedImages
from tailwise.engine.prepare import Prepared
from tailwise.engine.recipe import Recipe
from tailwise.engine.runtime import Runtime
from tailwise.engine.sources import make_evaluation_split
from tailwise.evaluation.features import pooled_features
from tailwise.models.network import Network
from tailwise.posthoc.base import TrainingFeatures


def training_features(network: Network, *, recipe: Recipe, prepared: Prepared, runtime: Runtime) -> TrainingFeatures:
    """Features of the images that a run trains on; see :func:`features_of`."""
    packed = None if prepared.pack is None else prepared.pack.train
    return features_of(network, recipe, prepared.splits.train, packed, prepared.index, runtime, prepared.train_images)


def features_of(
    network: Network,
    recipe: Recipe,
    pool: Pool,
    packed: PackedImages | None,
    index: LongTailIndex,
    runtime: Runtime,
    images: NDArray[np.uint8] | None = None,
) -> TrainingFeatures:
    """Features of training images as the evaluation sees images: without augmentation, resized in its way.

    Args:
        network: In any mode; it is put back afterwards.
        recipe: Image size, zoom, batch and workers.
        pool: The training pool.
        packed: Where its images are packed, or None to decode the files.
        index: The images of it that are used.
        runtime: Device, precision, processes.
        images: uint8 ``[N,3,size,size]``, the images of the index where they are in memory. They have no zoom, so they
            are used only when the evaluation has none.
    """
    ready = images if recipe.data.eval_zoom == 1.0 else None
    split = make_evaluation_split(recipe, pool, packed, index.positions, runtime, ready)
    return TrainingFeatures(*pooled_features(network, split, len(index), runtime))
