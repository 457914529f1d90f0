"""Settings shared by every recipe on a kind of data, and the helpers that recipes are written with."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tailwise.core.registry import REGISTRY
from tailwise.engine.recipe import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Backbone,
    Data,
    Evaluate,
    Optim,
    Recipe,
    Stage,
    Stream,
)
from tailwise.engine.schedule import Cosine, MultiStep

if TYPE_CHECKING:
    from tailwise.report.paper import Table

#: A recipe is a function from the base settings of the data to a complete recipe.
RecipeFunction = Callable[[Recipe], Recipe]

#: Images up to this size are trained with the CIFAR settings.
SMALL_IMAGE = 64


def base_recipe(name: str, location: Path | None = None, image_size: int | None = None) -> Recipe:
    """Cross-entropy with the settings of a data set.

    Args:
        name: A registered data set.
        location: The folder or list, for those data sets that need one.
        image_size: Height and width of the images; decides between small-image and full-size settings for
            ``folder`` and ``list``. None: 32 pixels.

    Returns:
        ``digits``, ``synthetic``: our own short settings. CIFAR and small images: the settings that LDAM-DRW and Bag of
        Tricks share (ResNet-32, 200 epochs; see ``docs/guide/recipes.md``). Larger images: ResNet-10, 90
        epochs with a cosine schedule, random resized crops.
    """
    where = None if location is None else str(location)
    if name in ("digits", "synthetic"):
        return _digits(name)
    size = image_size or 32
    if size <= SMALL_IMAGE:
        return _cifar(name, where, size)
    return _full_size(name, where, size)


def make_recipe(name: str, base: Recipe) -> Recipe:
    """The named recipe on these base settings.

    Raises:
        UnknownName: No such recipe; the nearest is offered.
        TailwiseError: The row of a paper's table has nothing to train.
    """
    found, function = find_recipe(name)
    return dataclasses.replace(function(base), name=found)


def find_recipe(name: str) -> tuple[str, RecipeFunction]:
    """The proper name and the function of a registered recipe, or of a row such as ``bag-of-tricks/table8/cs-ce``.

    Raises:
        UnknownName: No such recipe, table or row; the nearest is offered.
        TailwiseError: The row of a paper's table has nothing to train.
    """
    if "/" not in name:
        entry = REGISTRY.find("recipes", name)
        return entry.name, entry.target
    place, _, row = name.rpartition("/")
    table: Table = REGISTRY.find("tables", place.replace("/", "-")).target()
    return table.named(row)


def recipe_names() -> list[str]:
    """Every registered recipe."""
    return REGISTRY.names("recipes")


def replace_stage(recipe: Recipe, number: int, **changes: Any) -> Recipe:
    """The recipe with some fields of one stage replaced."""
    stages = list(recipe.stages)
    stages[number] = dataclasses.replace(stages[number], **changes)
    return dataclasses.replace(recipe, stages=tuple(stages))


def replace_stream(recipe: Recipe, number: int, stream: str = "main", **changes: Any) -> Recipe:
    """The recipe with some fields of one stage's stream replaced."""
    streams = dict(recipe.stages[number].streams)
    streams[stream] = dataclasses.replace(streams[stream], **changes)
    return replace_stage(recipe, number, streams=streams)


def _digits(name: str) -> Recipe:
    schedule = Cosine(warmup_epochs=4)
    stage = Stage(
        epochs=60, streams={"main": Stream(batch=64)}, optim=Optim(lr=0.1, weight_decay=5e-4, schedule=schedule)
    )
    return Recipe(
        variant="own",
        data=Data(
            name=name,
            imbalance_factor=50.0 if name == "digits" else None,
            image_size=8,
            padding=1,
            flip=0.0,
            mean=(0.3, 0.3, 0.3),
            std=(0.38, 0.38, 0.38),
        ),
        backbone=Backbone(name="resnet20"),
        stages=(stage,),
        evaluate=Evaluate(shots="reslt"),
    )


def _cifar(name: str, location: str | None, size: int) -> Recipe:
    schedule = MultiStep(milestones=(160, 180), gamma=0.01, warmup_epochs=5, warmup="linear")
    return Recipe(
        data=Data(
            name=name,
            location=location,
            imbalance_factor=100.0 if name in ("cifar10", "cifar100") else None,
            image_size=size,
        ),
        stages=(Stage(epochs=200, streams={"main": Stream(batch=128)}, optim=Optim(schedule=schedule)),),
        evaluate=Evaluate(shots="reslt"),
    )


def _full_size(name: str, location: str | None, size: int) -> Recipe:
    optim = Optim(lr=0.1, weight_decay=5e-4, schedule=Cosine(warmup_epochs=5, warmup_counts=4))
    return Recipe(
        variant="own",
        data=Data(
            name=name,
            location=location,
            image_size=size,
            eval_zoom=256 / 224,
            augmentation="random_resized_crop",
            color_jitter=0.4,
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
        ),
        backbone=Backbone(name="resnet10"),
        stages=(Stage(epochs=90, streams={"main": Stream(batch=256)}, optim=optim),),
        evaluate=Evaluate(batch=100),
    )
