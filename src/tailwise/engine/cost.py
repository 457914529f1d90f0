"""The test-time cost of a recipe's network, before there are data."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from tailwise.core.errors import TailwiseError
from tailwise.core.stats import ClassStats
from tailwise.data.cifar import SIZES
from tailwise.engine.prepare import open_splits
from tailwise.engine.recipe import Data, Recipe
from tailwise.engine.task import Task
from tailwise.models.cost import Cost, cost_of


def recipe_cost(recipe: Recipe, num_classes: int) -> Cost:
    """The cost of a recipe's network for one image of the recipe's size.

    No weights are drawn or fetched.

    Args:
        recipe: Backbone, head, image size.
        num_classes: ``C``.

    Raises:
        TailwiseError: The network cannot be built, or not without data.
    """
    # No head's cost depends on the counts; some need unequal ones to be built.
    counts = np.geomspace(1000, 10, num_classes).astype(np.int64)
    bare = dataclasses.replace(recipe, backbone=dataclasses.replace(recipe.backbone, pretrained=False, weights=None))
    try:
        with torch.device("meta"):
            network = Task(bare, ClassStats(counts)).network
        return cost_of(network, recipe.data.image_size)
    except (RuntimeError, NotImplementedError) as error:
        raise TailwiseError(f"the cost of backbone {recipe.backbone.name!r} is not known: {error}") from error


def classes_of(data: Data) -> int:
    """The number of classes of a data section; the files of CIFAR need not be there.

    Raises:
        DataError: The files cannot be read.
    """
    return SIZES[data.name][0] if data.name in SIZES else open_splits(data).train.num_classes
