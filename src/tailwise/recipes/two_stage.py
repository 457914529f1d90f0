"""Recipes that learn features first and balance later: deferred re-weighting and re-sampling, classifiers trained or
changed afterwards.
"""

from __future__ import annotations

import dataclasses

from tailwise.core.registry import register
from tailwise.engine.recipe import Recipe
from tailwise.losses.class_balanced import ClassBalanced
from tailwise.losses.class_balanced_focal import ClassBalancedFocal
from tailwise.losses.cost_sensitive import CostSensitive
from tailwise.losses.focal import Focal
from tailwise.losses.ldam import LDAM
from tailwise.posthoc.base import PostHoc
from tailwise.posthoc.ncm import NCM
from tailwise.posthoc.tau_norm import TauNorm
from tailwise.recipes import stages
from tailwise.recipes.reweighting import LDAM_MARGIN, beta_of, ldam
from tailwise.samplers.over import Over
from tailwise.samplers.power import Power
from tailwise.samplers.progressive import Progressive
from tailwise.samplers.under import Under


@register("drw-cs-ce", kind="recipes", paper="zhang2021bag")
def drw_cs_ce(base: Recipe) -> Recipe:
    """Cross-entropy, then cost-sensitive cross-entropy for the last fifth (DRW), divided by the batch's weights."""
    return stages.drw(base, CostSensitive(), "weighted_mean")


@register("drw-cb-ce", kind="recipes", paper="zhang2021bag")
def drw_cb_ce(base: Recipe) -> Recipe:
    """Cross-entropy, then class-balanced cross-entropy for the last fifth (DRW), divided by the batch's weights."""
    return stages.drw(base, ClassBalanced(beta=beta_of(base)), "weighted_mean")


@register("drw-focal", kind="recipes", paper="zhang2021bag")
def drw_focal(base: Recipe) -> Recipe:
    """Cross-entropy, then focal loss for the last fifth (DRW), as printed.

    The authors' code has focal loss from the start and cost-sensitive focal loss in the last fifth.
    """
    return stages.drw(base, Focal())


@register("drw-cb-focal", kind="recipes", paper="zhang2021bag")
def drw_cb_focal(base: Recipe) -> Recipe:
    """Cross-entropy, then class-balanced focal loss for the last fifth (DRW), as printed.

    The authors' code has focal loss from the start. Its gamma for an imbalance factor of 100 is 1.
    """
    return stages.drw(base, ClassBalancedFocal(beta=beta_of(base), gamma=1.0))


@register("ldam-drw", kind="recipes", paper="cao2019ldam")
def ldam_drw(base: Recipe) -> Recipe:
    """LDAM, in the last fifth with class-balanced weights (DRW): the recipe of the paper's best rows."""
    return stages.drw(ldam(base), LDAM(scale=1.0, max_margin=LDAM_MARGIN, beta=0.9999), "weighted_mean")


@register("drs", kind="recipes", paper="zhang2021bag")
def drs(base: Recipe) -> Recipe:
    """Cross-entropy with the data as they come, then class-balanced sampling for the last fifth."""
    return stages.drs(base, Power(q=0.0))


@register("drs-square-root", kind="recipes", paper="zhang2021bag")
def drs_square_root(base: Recipe) -> Recipe:
    """Cross-entropy with the data as they come, then square-root sampling for the last fifth."""
    return stages.drs(base, Power(q=0.5))


@register("drs-progressive", kind="recipes", paper="zhang2021bag")
def drs_progressive(base: Recipe) -> Recipe:
    """Cross-entropy with the data as they come, then progressively-balanced sampling for the last fifth.

    It starts at four fifths of the way, as in the authors' code, which counts the epochs of the whole training.
    """
    recipe = stages.drs(base, Power())
    start = (recipe.stages[0].epochs + 1) / recipe.epochs
    return stages.drs(base, Progressive(start=start))


@register("drs-over-sampling", kind="recipes", paper="zhang2021bag")
def drs_over_sampling(base: Recipe) -> Recipe:
    """Cross-entropy with the data as they come, then random over-sampling for the last fifth."""
    return stages.drs(base, Over())


@register("drs-under-sampling", kind="recipes", paper="zhang2021bag")
def drs_under_sampling(base: Recipe) -> Recipe:
    """Cross-entropy with the data as they come, then random under-sampling for the last fifth."""
    return stages.drs(base, Under())


@register("crt", kind="recipes", paper="kang2020decoupling")
def crt(base: Recipe) -> Recipe:
    """Cross-entropy, then a new classifier on the frozen backbone with class-balanced sampling (cRT)."""
    return stages.crt(base)


@register("crt-official", kind="recipes", paper="kang2020decoupling")
def crt_official(base: Recipe) -> Recipe:
    """Classifier re-training as published code runs: the statistics of the frozen backbone's BatchNorm layers move."""
    return stages.crt(base, variant="official")


@register("lws", kind="recipes", paper="kang2020decoupling")
def lws(base: Recipe) -> Recipe:
    """Cross-entropy, then one learned factor for each class with class-balanced sampling (LWS)."""
    return stages.lws(base)


@register("lws-official", kind="recipes", paper="kang2020decoupling")
def lws_official(base: Recipe) -> Recipe:
    """Learnable weight scaling as published code runs: statistics of the frozen backbone's BatchNorm layers move."""
    return stages.lws(base, variant="official")


@register("tau-norm", kind="recipes", paper="kang2020decoupling")
def tau_norm(base: Recipe) -> Recipe:
    """Cross-entropy, measured as it is and with class vectors of unit length (tau-normalisation with tau = 1)."""
    return _with_posthoc(base, TauNorm())


@register("ncm", kind="recipes", paper="kang2020decoupling")
def ncm(base: Recipe) -> Recipe:
    """Cross-entropy, measured as it is and by the nearest class mean of the training features."""
    return _with_posthoc(base, NCM())


def _with_posthoc(base: Recipe, *changes: PostHoc) -> Recipe:
    evaluate = dataclasses.replace(base.evaluate, posthoc=(*base.evaluate.posthoc, *changes))
    return dataclasses.replace(base, evaluate=evaluate)
