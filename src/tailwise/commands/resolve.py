"""From a recipe's name or file, a data set's name or path, and a few options to a complete recipe."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tailwise.core.errors import TailwiseError, UnknownName, suggest
from tailwise.core.registry import REGISTRY
from tailwise.core.spec import SpecError, parse_call
from tailwise.data.images import sample_sizes
from tailwise.data.open import guess_source, open_data
from tailwise.engine.recipe import Backbone, Data, Recipe, Stage, with_epochs
from tailwise.engine.run_folder import read_recipe
from tailwise.objectives.classification import Classification
from tailwise.recipes.base import SMALL_IMAGE, base_recipe, make_recipe, recipe_names, replace_stage, replace_stream

DEFAULT_RECIPE, DEFAULT_DATA = "ce", "digits"


def load_recipe(
    recipe: str = DEFAULT_RECIPE,
    *,
    data: str | None = None,
    root: str | None = None,
    image_size: int | None = None,
    epochs: int | None = None,
    changes: Sequence[str] = (),
) -> Recipe:
    """A complete recipe.

    Args:
        recipe: A recipe's name, or the path of a recipe file (``.yaml``).
        data: A data set's name, a folder or a list file; the recipe file's own, or ``digits``, when not given.
        root: Where the files of a downloaded data set, or the images of a list, lie.
        image_size: Height and width; looked up in a folder's images when not given.
        epochs: Compress or stretch the recipe to so many.
        changes: ``"loss=balanced_softmax"``, ``"sampler=power(q=0)"``, ``"head=cosine"``, ``"backbone=resnet44"``.

    Raises:
        UnknownName: No such recipe, data set or component; the nearest is offered.
        SpecError: A recipe file or a change that cannot be read.
        DataError: Something is wrong with the folder or list.
    """
    found = _from_file(Path(recipe), data) if _is_file(recipe) else _from_name(recipe, data, root, image_size)
    if root is not None:
        found = dataclasses.replace(found, data=dataclasses.replace(found.data, root=root))
    if image_size is not None:
        found = dataclasses.replace(found, data=_checked(Data, found.data, image_size=image_size))
    for change in changes:
        found = apply_change(found, change)
    return found if epochs is None else with_epochs(found, epochs)


def apply_change(recipe: Recipe, change: str) -> Recipe:
    """Replaces one kind of component in every stage, from text such as ``"sampler=power(q=0)"``.

    Raises:
        SpecError: Not of the form ``slot=name(argument=value)``.
        UnknownName: No such slot or component.
    """
    slot, equals, text = change.partition("=")
    if not equals:
        raise SpecError(f"cannot read {change!r}; write slot=component, for example loss=balanced_softmax")
    slots = ("loss", "sampler", "head", "backbone", "mix", "feature_aug")
    if slot not in slots:
        raise UnknownName("slot", slot, slots)
    name, values = parse_call(text)
    if slot == "backbone":
        known = {field.name for field in dataclasses.fields(Backbone)}
        for key in values:
            if key not in known:
                raise UnknownName("field of backbone", key, known)
        return dataclasses.replace(recipe, backbone=_checked(Backbone, None, name=name, **values))
    if slot == "head":
        return dataclasses.replace(recipe, head=REGISTRY.make("heads", name, **values))
    for number, stage in enumerate(recipe.stages):
        if slot == "sampler":
            stream = next(iter(stage.streams))
            recipe = replace_stream(recipe, number, stream, sampler=REGISTRY.make("samplers", name, **values))
        elif slot == "loss":
            recipe = replace_stage(recipe, number, objective=_with_loss(stage, REGISTRY.make("losses", name, **values)))
        else:
            kind = {"mix": "mixes", "feature_aug": "feature_augs"}[slot]
            recipe = replace_stage(recipe, number, **{slot: REGISTRY.make(kind, name, **values)})
    return recipe


def _with_loss(stage: Stage, loss: Any) -> tuple[Any, ...]:
    first, *rest = stage.objective
    if not isinstance(first, Classification):
        raise TailwiseError(f"the objective {first.name!r} has no loss to replace")
    return (dataclasses.replace(first, loss=loss), *rest)


def _is_file(recipe: str) -> bool:
    return recipe.endswith((".yaml", ".yml")) or Path(recipe).is_file()


def _from_file(path: Path, data: str | None) -> Recipe:
    recipe = read_recipe(path)
    if data is None:
        return recipe
    name, location = guess_source(data)
    where = None if location is None else str(location)
    return dataclasses.replace(
        recipe, data=dataclasses.replace(recipe.data, name=name, location=where, fingerprint=None)
    )


def _from_name(recipe: str, data: str | None, root: str | None, image_size: int | None) -> Recipe:
    if recipe not in recipe_names() and Path(recipe).suffix:
        raise TailwiseError(f"no recipe file {recipe}{suggest(recipe, recipe_names())}")
    REGISTRY.find("recipes", recipe)
    name, location = guess_source(data or DEFAULT_DATA)
    if location is not None and image_size is None:
        image_size = _usual_size(name, location, root)
    return make_recipe(recipe, base_recipe(name, location, image_size))


def _usual_size(name: str, location: Path, root: str | None) -> int:
    """The side to train a user's own images at: their own when they are small, else 224."""
    splits = open_data(name, location=location, root=None if root is None else Path(root))
    sizes = sample_sizes(splits.train)
    short = float(np.median([min(size) for size in sizes])) if sizes else 224.0
    return max(8, 8 * round(short / 8)) if short <= SMALL_IMAGE else 224


def _checked(kind: type[Any], old: Any, **values: Any) -> Any:
    """A dataclass with changed fields; a refused value becomes a message."""
    try:
        return kind(**values) if old is None else dataclasses.replace(old, **values)
    except (TypeError, ValueError) as error:
        raise TailwiseError(str(error)) from error
