"""Recipes with one stage and a loss that knows the class counts."""

from __future__ import annotations

import dataclasses
from typing import Literal

from tailwise.core.registry import register
from tailwise.engine.recipe import Recipe
from tailwise.heads.cosine import Cosine
from tailwise.losses.base import Loss
from tailwise.losses.cdt import CDT
from tailwise.losses.class_balanced import ClassBalanced
from tailwise.losses.class_balanced_focal import ClassBalancedFocal
from tailwise.losses.cost_sensitive import CostSensitive
from tailwise.losses.focal import Focal
from tailwise.losses.influence_balanced import InfluenceBalanced
from tailwise.losses.label_aware_smoothing import LabelAwareSmoothing
from tailwise.losses.ldam import LDAM
from tailwise.losses.logit_adjustment import LogitAdjustment
from tailwise.losses.seql import SEQL
from tailwise.objectives.classification import Classification
from tailwise.recipes import stages
from tailwise.recipes.base import replace_stage

#: The scale of the cosine head of LDAM, and the largest margin in units of its logits: 0.5 in cosines.
LDAM_SCALE, LDAM_MARGIN = 30.0, 15.0


def beta_of(base: Recipe) -> float:
    """The hyper-parameter of class-balanced weights in the code of zhang2021bag: 0.9 on CIFAR-100, else 0.9999."""
    return 0.9 if base.data.name == "cifar100" else 0.9999


@register("cs-ce", kind="recipes", paper="zhang2021bag")
def cs_ce(base: Recipe) -> Recipe:
    """Cross-entropy weighted by inverse class frequency, divided by the batch's weights as in the authors' code."""
    return _with_loss(base, CostSensitive(), "weighted_mean")


@register("cb-ce", kind="recipes", paper="cui2019class")
def cb_ce(base: Recipe) -> Recipe:
    """Cross-entropy weighted by the effective number of images, divided by the batch's weights as in the code of
    zhang2021bag.
    """
    return _with_loss(base, ClassBalanced(beta=beta_of(base)), "weighted_mean")


@register("focal", kind="recipes", paper="lin2017focal")
def focal(base: Recipe) -> Recipe:
    """Sigmoid focal loss with gamma = 2."""
    return _with_loss(base, Focal())


@register("cb-focal", kind="recipes", paper="cui2019class")
def cb_focal(base: Recipe) -> Recipe:
    """Sigmoid focal loss weighted by the effective number of images; gamma = 1 as in the code of zhang2021bag for an
    imbalance factor of 100.
    """
    return _with_loss(base, ClassBalancedFocal(beta=beta_of(base), gamma=1.0))


@register("ldam", kind="recipes", paper="cao2019ldam")
def ldam(base: Recipe) -> Recipe:
    """Label-distribution-aware margins on a cosine classifier, without re-weighting."""
    recipe = dataclasses.replace(base, head=Cosine(scale=LDAM_SCALE))
    return _with_loss(recipe, LDAM(scale=1.0, max_margin=LDAM_MARGIN))


@register("logit-adjustment", kind="recipes", paper="menon2021long")
def logit_adjustment(base: Recipe) -> Recipe:
    """Cross-entropy on logits plus the log class prior, which is added in training only."""
    return _with_loss(base, LogitAdjustment())


@register("cdt", kind="recipes", paper="ye2020cdt")
def cdt(base: Recipe) -> Recipe:
    """Cross-entropy with class-dependent temperatures."""
    return _with_loss(base, CDT())


@register("seql", kind="recipes", paper="tan2020equalization")
def seql(base: Recipe) -> Recipe:
    """Softmax equalisation loss; classes below 0.5 % of the images count as rare, among ten classes those below 5 %, as
    in the code of zhang2021bag.
    """
    return _with_loss(base, SEQL(threshold=0.05 if base.data.name in ("cifar10", "digits") else 0.005))


@register("label-aware-smoothing", kind="recipes", paper="zhong2021mislas")
def label_aware_smoothing(base: Recipe) -> Recipe:
    """Cross-entropy with more label smoothing for larger classes, throughout the training."""
    return _with_loss(base, LabelAwareSmoothing())


@register("influence-balanced", kind="recipes", paper="park2021influence")
def influence_balanced(base: Recipe) -> Recipe:
    """Cross-entropy in the first half, then cross-entropy divided by each sample's influence on the classifier."""
    return stages.drw(base, InfluenceBalanced(), epoch=100)


def _with_loss(base: Recipe, loss: Loss, reduction: Literal["mean", "weighted_mean"] = "mean") -> Recipe:
    return replace_stage(base, 0, objective=(Classification(loss=loss, reduction=reduction),))
