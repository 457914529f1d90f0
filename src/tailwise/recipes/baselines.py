"""The plainest recipes: one stage, one idea."""

from __future__ import annotations

from tailwise.core.registry import register
from tailwise.engine.recipe import Recipe
from tailwise.losses.balanced_softmax import BalancedSoftmax
from tailwise.objectives.classification import Classification
from tailwise.recipes.base import replace_stage, replace_stream
from tailwise.samplers.power import Power


@register("ce", kind="recipes", paper="zhang2021bag")
def ce(base: Recipe) -> Recipe:
    """Cross-entropy on the data as they come: the baseline of every table."""
    return base


@register("class-balanced-sampling", kind="recipes", paper="kang2020decoupling")
def class_balanced_sampling(base: Recipe) -> Recipe:
    """Cross-entropy with every class equally likely in a batch (q = 0), throughout the training."""
    return replace_stream(base, 0, sampler=Power(q=0.0))


@register("square-root-sampling", kind="recipes", paper="kang2020decoupling")
def square_root_sampling(base: Recipe) -> Recipe:
    """Cross-entropy with classes drawn by the square root of their size (q = 1/2), throughout the training."""
    return replace_stream(base, 0, sampler=Power(q=0.5))


@register("balanced-softmax", kind="recipes", paper="ren2020balanced")
def balanced_softmax(base: Recipe) -> Recipe:
    """Balanced softmax: cross-entropy on logits shifted by the log class counts."""
    return replace_stage(base, 0, objective=(Classification(loss=BalancedSoftmax()),))
