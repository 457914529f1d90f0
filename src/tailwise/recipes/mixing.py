"""Recipes that mix images or features, as long as the base settings, and one that stops mixing before the end."""

from __future__ import annotations

from tailwise.augment.base import FeatureAug, Mix
from tailwise.augment.cutmix import CutMix
from tailwise.augment.manifold_mixup import ManifoldMixup
from tailwise.augment.mixup import Mixup
from tailwise.augment.remix import Remix
from tailwise.core.registry import register
from tailwise.engine.recipe import Recipe
from tailwise.recipes import stages
from tailwise.recipes.base import replace_stage


def mixed(recipe: Recipe, mix: Mix | FeatureAug) -> Recipe:
    """The recipe with its first stage's images or features mixed."""
    return replace_stage(recipe, 0, **{"feature_aug" if isinstance(mix, FeatureAug) else "mix": mix})


@register("input-mixup", kind="recipes", paper="zhang2018mixup")
def input_mixup(base: Recipe) -> Recipe:
    """Cross-entropy on mixed images (alpha = 1), for the epochs of the base settings.

    The code of zhang2021bag trains twice as long with mixup.
    """
    return mixed(base, Mixup())


@register("manifold-mixup", kind="recipes", paper="verma2019manifold")
def manifold_mixup(base: Recipe) -> Recipe:
    """Cross-entropy on mixed pooled features (alpha = 1), the form that zhang2021bag goes on with."""
    return mixed(base, ManifoldMixup())


@register("remix", kind="recipes", paper="chou2020remix")
def remix(base: Recipe) -> Recipe:
    """Cross-entropy on mixed images whose label goes to the rarer class of an unequal pair."""
    return mixed(base, Remix())


@register("cutmix", kind="recipes", paper="yun2019cutmix")
def cutmix(base: Recipe) -> Recipe:
    """Cross-entropy on images with a box of another image, in every batch."""
    return mixed(base, CutMix())


@register("mixup-fine-tuned", kind="recipes", paper="zhang2021bag")
def mixup_fine_tuned(base: Recipe) -> Recipe:
    """Input mixup for twice the epochs of the base settings, then a twentieth of that without (400 + 20 on CIFAR)."""
    return stages.after_mixup(base, Mixup())
