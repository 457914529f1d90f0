"""From a recipe's name or file, a data set's name or path, and a few options to a complete recipe."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tailwise.augment.base import FeatureAug, Generate, Mix
from tailwise.core.errors import TailwiseError, UnknownName, suggest
from tailwise.core.registry import REGISTRY, Slot
from tailwise.core.spec import SpecError, from_plain, parse_call, to_plain
from tailwise.data.images import sample_sizes
from tailwise.data.open import guess_source, open_data
from tailwise.engine.recipe import Backbone, Data, Recipe, Stage
from tailwise.engine.rescale import with_epochs
from tailwise.engine.run_folder import read_recipe
from tailwise.heads.base import Head
from tailwise.losses.base import Loss
from tailwise.objectives.classification import Classification
from tailwise.posthoc.base import PostHoc
from tailwise.recipes.base import (
    SMALL_IMAGE,
    base_recipe,
    find_recipe,
    make_recipe,
    recipe_names,
    replace_stage,
    replace_stream,
)
from tailwise.samplers.base import Sampler

DEFAULT_RECIPE, DEFAULT_DATA = "ce", "digits"


def load_recipe(
    recipe: str = DEFAULT_RECIPE,
    *,
    data: str | None = None,
    root: str | None = None,
    image_size: int | None = None,
    epochs: int | None = None,
    changes: Sequence[str] = (),
    eval_list: str | None = None,
    eval_split: str = "auto",
) -> Recipe:
    """A complete recipe.

    Args:
        recipe: A recipe's name, or the path of a recipe file (``.yaml``).
        data: A data set's name, a folder or a list file; the recipe file's own, or ``digits``, when not given.
        root: Where the files of a downloaded data set, or the images of a list, lie.
        image_size: Height and width; looked up in a folder's images when not given.
        epochs: Compress or stretch the recipe to so many.
        eval_list: The evaluation list of a list file.
        eval_split: ``"val"``, ``"test"``, or ``"auto"``: test where there is one.
        changes: ``"loss=balanced_softmax"``, ``"sampler=power(q=0)"``, ``"head=cosine"``, ``"backbone=resnet44"``,
            ``"posthoc=tau_norm(tau=0.7)"``.

    Raises:
        UnknownName: No such recipe, data set or component; the nearest is offered.
        SpecError: A recipe file or a change that cannot be read.
        DataError: Something is wrong with the folder or list.
    """
    where = {"root": root, "eval_list": eval_list, "eval_split": None if eval_split == "auto" else eval_split}
    given = {name: value for name, value in {**where, "image_size": image_size}.items() if value is not None}
    if _is_file(recipe):
        found = _from_file(Path(recipe), data)
    else:
        found = _from_name(recipe, data, image_size, **{key: item for key, item in where.items() if item is not None})
    if given:
        found = dataclasses.replace(found, data=from_plain(Data, {**to_plain(found.data), **given}, "data"))
    for change in changes:
        try:
            found = apply_change(found, change)
        except ValueError as error:  # a component that does not go with the others of its stream or stage
            raise SpecError(f"{change}: {error}") from error
    return found if epochs is None else with_epochs(found, epochs)


def apply_change(recipe: Recipe, change: str) -> Recipe:
    """Replaces one kind of component in every stage, from text such as ``"sampler=power(q=0)"``; adds a ``posthoc``.

    Raises:
        SpecError: Not of the form ``slot=name(argument=value)``.
        UnknownName: No such slot or component.
    """
    slot, equals, text = change.partition("=")
    if not equals:
        raise SpecError(f"cannot read {change!r}; write slot=component, for example loss=balanced_softmax")
    slots = ("loss", "sampler", "head", "backbone", "mix", "feature_aug", "generate", "posthoc")
    if slot not in slots:
        raise UnknownName("slot", slot, slots)
    name, values = parse_call(text)
    if slot == "backbone":
        return dataclasses.replace(recipe, backbone=from_plain(Backbone, {"name": name, **values}, change))
    if slot == "posthoc":
        added = from_plain(PostHoc, {"_type": name, **values}, change)
        others = [posthoc for posthoc in recipe.evaluate.posthoc if posthoc.label != added.label]
        return dataclasses.replace(recipe, evaluate=dataclasses.replace(recipe.evaluate, posthoc=(*others, added)))
    kinds: dict[str, type[Slot]] = {
        "loss": Loss, "sampler": Sampler, "head": Head, "mix": Mix, "feature_aug": FeatureAug, "generate": Generate
    }  # fmt: skip
    part: Any = from_plain(kinds[slot], {"_type": name, **values}, change)
    if slot == "head":
        return dataclasses.replace(recipe, head=part)
    # Where a stage generates images already, the others are meant to show the images as they are.
    generating = [n for n, stage in enumerate(recipe.stages) if next(iter(stage.streams.values())).generate is not None]
    fusing = [number for number, stage in enumerate(recipe.stages) if stage.feature_aug is not None]
    for number, stage in enumerate(recipe.stages):
        if slot == "feature_aug" and fusing and number not in fusing:
            continue
        if slot == "sampler":
            recipe = replace_stream(recipe, number, next(iter(stage.streams)), sampler=part)
        elif slot == "generate":
            if not generating or number in generating:
                recipe = replace_stream(recipe, number, next(iter(stage.streams)), generate=part)
        elif slot == "loss":
            recipe = replace_stage(recipe, number, objective=_with_loss(stage, part))
        else:
            recipe = replace_stage(recipe, number, **{slot: part})
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
    other = dataclasses.replace(
        recipe.data,
        name=name,
        location=where,
        fingerprint=None,
        root=None,
        eval_list=None,
        subset=None,
        pack=None,
        pixels=None,
    )
    return dataclasses.replace(recipe, data=other)


def _from_name(recipe: str, data: str | None, image_size: int | None, **where: str) -> Recipe:
    # A row such as feature-space-augmentation/table1/cb-0.9 has a dot in its name and is no file.
    row = recipe.rpartition("/")[0].replace("/", "-") in REGISTRY.names("tables")
    if recipe not in recipe_names() and Path(recipe).suffix and not row:
        raise TailwiseError(f"no recipe file {recipe}{suggest(recipe, recipe_names())}")
    find_recipe(recipe)
    name, location = guess_source(data or DEFAULT_DATA)
    if location is not None and image_size is None:
        image_size = _usual_size(name, location, **where)
    return make_recipe(recipe, base_recipe(name, location, image_size))


def _usual_size(
    name: str, location: Path, root: str | None = None, eval_list: str | None = None, eval_split: str = "auto"
) -> int:
    """The side to train a user's own images at: their own when they are small, else 224."""
    splits = open_data(
        name,
        location=location,
        root=None if root is None else Path(root),
        eval_list=None if eval_list is None else Path(eval_list),
        eval_split=eval_split,
    )
    sizes = sample_sizes(splits.train)
    short = float(np.median([min(size) for size in sizes])) if sizes else 224.0
    return max(8, 8 * round(short / 8)) if short <= SMALL_IMAGE else 224
