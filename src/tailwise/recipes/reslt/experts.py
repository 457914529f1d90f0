"""Residual branches for each of several experts (cui2022reslt, Tables 5 and 7)."""

from __future__ import annotations

import dataclasses
from typing import Any

from tailwise.core.groups import Groups
from tailwise.core.registry import register
from tailwise.engine.recipe import Optim, Recipe
from tailwise.engine.rescale import with_epochs
from tailwise.objectives.per_expert import PerExpert
from tailwise.recipes.base import SMALL_IMAGE, replace_stage, replace_stream
from tailwise.recipes.experts import with_experts
from tailwise.recipes.reslt.method import branches
from tailwise.recipes.reslt.settings import INATURALIST_MEAN, trained_like_reslt
from tailwise.report.paper import Variant


def branched_experts(base: Recipe, experts: int = 3, variant: Variant = "official", **changes: Any) -> Recipe:
    """Residual branches for each expert, the losses added up; the optimiser stays (cui2022reslt, Tables 5 and 7).

    Branches, loss, groups and alpha are those of :func:`~tailwise.recipes.reslt.method.branches`. As in the authors'
    code, the experts' own stages are narrower except on iNaturalist 2018, and ResNeXt-50 has batches of 128 with rate
    0.05. On small images the variant is our own definition: the authors published no code of it.

    Args:
        base: Settings with one stage.
        experts: Number of experts.
        variant: Of the branches.
        changes: As for :func:`~tailwise.recipes.reslt.method.branches`.
    """
    recipe = branches(base, variant, **changes)
    inaturalist = base.data.mean == INATURALIST_MEAN
    (objective,) = recipe.stages[0].objective
    recipe = with_experts(recipe, recipe.head, experts, reduced=not inaturalist)
    recipe = replace_stage(recipe, 0, objective=(PerExpert(objective=objective),))
    if base.data.image_size <= SMALL_IMAGE or inaturalist:
        return recipe
    optim = dataclasses.replace(recipe.stages[0].optim or Optim(), lr=0.05)
    return replace_stage(replace_stream(recipe, 0, batch=128), 0, optim=optim)


@register("reslt-experts", kind="recipes", paper="cui2022reslt")
def reslt_experts(base: Recipe) -> Recipe:
    """Three experts with residual branches each, their logits averaged (ResLT with three experts).

    The optimiser is that of the recipe `reslt`; larger images have the 180 epochs, batches of 128 and rate 0.05 of the
    authors' code for ResNeXt-50.
    """
    settings = trained_like_reslt(base)
    if base.data.image_size <= SMALL_IMAGE:
        return dataclasses.replace(branched_experts(settings), variant="own")
    # The groups of the code are made for ImageNet-LT itself; other data have thirds by rank, as `reslt` has.
    recipe = with_epochs(branched_experts(settings, groups=Groups()), 180)
    return dataclasses.replace(recipe, variant="own" if base.variant == "own" else "official")
