"""Recipes with one stage and another sampler than the data's own frequencies."""

from __future__ import annotations

import dataclasses

from tailwise.core.registry import register
from tailwise.engine.recipe import Recipe
from tailwise.objectives.classification import Classification
from tailwise.recipes.base import replace_stage, replace_stream
from tailwise.samplers.over import Over
from tailwise.samplers.power import Power
from tailwise.samplers.progressive import Progressive
from tailwise.samplers.under import Under


@register("over-sampling", kind="recipes", paper="buda2018systematic")
def over_sampling(base: Recipe) -> Recipe:
    """Cross-entropy with random over-sampling throughout the training; an epoch has as many steps as without."""
    return replace_stream(base, 0, sampler=Over())


@register("under-sampling", kind="recipes", paper="buda2018systematic")
def under_sampling(base: Recipe) -> Recipe:
    """Cross-entropy with random under-sampling throughout the training, drawn anew in every epoch.

    An epoch has as many steps as without, so it shows its few images several times.
    """
    return replace_stream(base, 0, sampler=Under())


@register("progressive-sampling", kind="recipes", paper="kang2020decoupling")
def progressive_sampling(base: Recipe) -> Recipe:
    """Cross-entropy, from instance-balanced to class-balanced sampling in the course of the training.

    Epochs count from 1 as in Eq. 8 of zhang2021bag.
    """
    return replace_stream(base, 0, sampler=Progressive(start=1 / base.epochs))


@register("bbn-sampling", kind="recipes", paper="zhou2020bbn")
def bbn_sampling(base: Recipe) -> Recipe:
    """Cross-entropy on batches of which one half follows the data and the other the reversed frequencies.

    Only the sampling of the paper: one network, no branches, both halves weighted equally throughout. The first half
    goes through the data once an epoch, so an epoch has twice as many steps.
    """
    (name, stream), *_ = base.stages[0].streams.items()
    half = max(1, stream.batch // 2)
    streams = {
        name: dataclasses.replace(stream, sampler=Power(), batch=half),
        "reversed": dataclasses.replace(stream, sampler=Power(q=-1.0), batch=half),
    }
    objective = tuple(Classification(stream=each, weight=0.5) for each in streams)
    return replace_stage(base, 0, streams=streams, objective=objective)
