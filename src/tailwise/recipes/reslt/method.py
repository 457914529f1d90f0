"""ResLT itself, as printed and as the authors' code runs, and what the ablations change of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from tailwise.core.groups import Groups
from tailwise.core.registry import register
from tailwise.engine.recipe import Recipe
from tailwise.heads.reslt import ResLT as ResLTHead
from tailwise.objectives.reslt import ResLT as ResLTObjective
from tailwise.posthoc.tau_norm import TauNorm
from tailwise.recipes.base import SMALL_IMAGE, RecipeFunction, replace_stage
from tailwise.recipes.reslt.settings import INATURALIST_MEAN, trained_like_reslt
from tailwise.report.paper import Variant

PAPER = "cui2022reslt"

#: Data sets whose groups the code has cut points for.
CIFAR = ("cifar10", "cifar100")

#: Alpha of the authors' scripts by data set and imbalance factor.
OFFICIAL_ALPHA: Mapping[tuple[str, float | None], float] = MappingProxyType(
    {
        ("cifar10", 100.0): 0.998,
        ("cifar10", 50.0): 0.998,
        ("cifar10", 10.0): 0.96,
        ("cifar100", 100.0): 0.995,
        ("cifar100", 50.0): 0.99,
        ("cifar100", 10.0): 0.72,
    }
)


@register("reslt", kind="recipes", paper=PAPER)
def reslt(base: Recipe) -> Recipe:
    """ResLT with the settings of the authors' code, for any data set.

    Branches, loss, alpha and groups are those of the code on CIFAR-10-LT and CIFAR-100-LT. On other data alpha is 0.995
    (0.99 on images above 64 pixels) and the groups are thirds by rank. Large images get the code's convolution
    branches, and the tau-normalised classifier with which that code evaluates is measured beside.
    """
    changes: dict[str, Any] = {"groups": Groups()} if base.data.image_size > SMALL_IMAGE else {}
    return _named_variant(branches(trained_like_reslt(base), **changes), base)


@register("reslt-as-printed", kind="recipes", paper=PAPER)
def reslt_as_printed(base: Recipe) -> Recipe:
    """ResLT as the paper prints it: a grouped convolution, a sum of means, groups of equal imbalance factor.

    Alpha is 0.995, or 0.99 on images above 64 pixels.
    """
    return branches(trained_like_reslt(base, "paper"), "paper")


@register("ce-reslt-settings", kind="recipes", paper=PAPER)
def ce_reslt_settings(base: Recipe) -> Recipe:
    """Cross-entropy with ResLT's weight decay and schedule, to be compared with `reslt`.

    The other methods in the paper's Table 5 were trained with a smaller weight decay.
    """
    return _named_variant(trained_like_reslt(base), base)


def branches(base: Recipe, variant: Variant = "official", **changes: Any) -> Recipe:
    """The recipe with residual branches and their loss; its optimiser stays.

    Args:
        base: Settings with one stage.
        variant: Whether the branches, the loss, the groups and alpha are printed ones or those of the code.
        changes: Fields of the head (``head_fusion=...``) and of the objective (``alpha=...``) that differ from it.
    """
    of_head = {name.removeprefix("head_"): value for name, value in changes.items() if name.startswith("head_")}
    of_objective = {name: value for name, value in changes.items() if not name.startswith("head_")}
    head, objective = _official(base) if variant == "official" else _printed(base)
    number = of_objective.get("branches", objective.branches)
    head = dataclasses.replace(head, **{"branches": number, **of_head})
    recipe = replace_stage(base, 0, objective=(dataclasses.replace(objective, **of_objective),))
    changed = dataclasses.replace(recipe, head=head)
    tau = _tau(base) if variant == "official" else None
    if tau is None:
        return changed
    return dataclasses.replace(changed, evaluate=dataclasses.replace(base.evaluate, posthoc=(TauNorm(tau=tau),)))


def function(variant: Variant, **changes: Any) -> RecipeFunction:
    """:func:`branches` as a function of the base settings; small images also get the paper's optimiser."""

    def changed(base: Recipe) -> Recipe:
        return branches(settled(base, variant), variant, **changes)

    return changed


def settled(base: Recipe, variant: Variant) -> Recipe:
    """Base settings with the paper's optimiser on small images; those of larger images are each benchmark's own.

    The settings of the paper's own columns stay what they are, so that a row also means something on other data.
    """
    return trained_like_reslt(base, variant) if base.data.image_size <= SMALL_IMAGE else base


def _official(base: Recipe) -> tuple[ResLTHead, ResLTObjective]:
    if base.data.image_size <= SMALL_IMAGE:
        alpha = OFFICIAL_ALPHA.get((base.data.name, base.data.imbalance_factor), 0.995)
        official = base.data.name in CIFAR
        return ResLTHead(), ResLTObjective(alpha=alpha, groups=Groups(rule="official" if official else "rank"))
    small = base.backbone.name == "resnet10"
    head = ResLTHead(branch="conv_bn_relu", pool="before" if small else "official")
    if _is_inaturalist(base):
        objective = ResLTObjective(alpha=0.85, branches=2, groups=Groups(rule="official"))
        return dataclasses.replace(head, branches=2), objective
    return head, ResLTObjective(alpha=0.99, groups=Groups(rule="official"))


def _printed(base: Recipe) -> tuple[ResLTHead, ResLTObjective]:
    alpha = 0.995 if base.data.image_size <= SMALL_IMAGE else 0.90 if _is_inaturalist(base) else 0.99
    groups = Groups(rule="imbalance")
    return ResLTHead(branch="grouped_conv"), ResLTObjective(
        alpha=alpha, groups=groups, reduction="sum_of_means", epsilon=0.0
    )


def _tau(base: Recipe) -> float | None:
    """With what power of their length the code divides class vectors before it evaluates."""
    if base.data.image_size <= SMALL_IMAGE:
        return None
    return 0.3 if base.backbone.name == "resnet10" or _is_inaturalist(base) else 0.7


def _is_inaturalist(base: Recipe) -> bool:
    return base.data.image_size > SMALL_IMAGE and base.data.mean == INATURALIST_MEAN


def _named_variant(recipe: Recipe, base: Recipe) -> Recipe:
    return dataclasses.replace(recipe, variant="own" if base.variant == "own" else "official")
