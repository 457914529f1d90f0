"""Networks with several experts, and RIDE (wang2021ride)."""

from __future__ import annotations

import dataclasses

from tailwise.core.registry import REGISTRY, register
from tailwise.engine.recipe import Backbone, Optim, Recipe
from tailwise.engine.rescale import with_epochs
from tailwise.engine.schedule import MultiStep
from tailwise.heads.base import Head
from tailwise.heads.cosine import Cosine
from tailwise.heads.experts import Experts
from tailwise.losses.ldam import LDAM
from tailwise.objectives.ride import Ride
from tailwise.recipes.base import SMALL_IMAGE, replace_stage, replace_stream
from tailwise.recipes.settings import INATURALIST_MEAN
from tailwise.recipes.stages import deferred

#: The margin of the smallest class in cosines, and the scale of the cosines.
MARGIN, SCALE = 0.5, 30.0


def with_experts(recipe: Recipe, inner: Head, experts: int = 3, *, reduced: bool = True) -> Recipe:
    """The recipe with a network of several experts in place of its own, and a head for each of them.

    The recipe's network is kept where it exists with experts (ResNet-20 and -32, ResNet-50); otherwise small images
    get ResNet-32 and larger ones ResNeXt-50.

    Args:
        recipe: Any.
        inner: Each expert's head.
        experts: Number of experts.
        reduced: Whether the experts' own stages are narrower.
    """
    name = f"ride_{recipe.backbone.name}"
    if name not in REGISTRY.names("backbones"):
        name = "ride_resnet32" if recipe.data.image_size <= SMALL_IMAGE else "ride_resnext50"
    # None is three, so that three experts have one hash.
    number = None if experts == 3 else experts
    backbone = Backbone(name=name, width=recipe.backbone.width, experts=number, reduced=reduced)
    return dataclasses.replace(recipe, backbone=backbone, head=Experts(inner=inner, num_experts=experts))


def ride_with(base: Recipe, experts: int = 3, *, epochs: int | None = None) -> Recipe:
    """RIDE without its routing: diverse experts, re-weighted in the last fifth (wang2021ride).

    The settings are those of the authors' code: LDAM with margin 0.5 and scale 30 on a cosine classifier for each
    expert, diversity -0.2; class weights of effective numbers (0.9999, divided by the batch's weights) and temperatures
    by class for the last fifth. Small images: weight decay 5e-4, rate divided by 100 at the milestones of the base
    settings, linear warm-up. Larger images: 100 epochs, rate 0.1 for batches of 256 (iNaturalist 2018: 0.2 for 512)
    divided by 10 after 60 and 80, five epochs of warm-up, weight decay 2e-4.

    Deviations: the code also rotates CIFAR-100 images by up to 15 degrees, which is not done here; the routing that
    saves experts on easy images is a second training and not built.

    Args:
        base: Settings of the data, with one stage.
        experts: Number of experts.
        epochs: Length on larger images, milestones in proportion; None: 100.
    """
    small, inaturalist = base.data.image_size <= SMALL_IMAGE, base.data.mean == INATURALIST_MEAN
    recipe = with_experts(base, Cosine(scale=SCALE), experts)
    if small:
        optim = recipe.stages[0].optim or Optim()
        schedule = optim.schedule
        if isinstance(schedule, MultiStep):
            schedule = dataclasses.replace(schedule, gamma=0.01, warmup="linear")
        optim = dataclasses.replace(optim, weight_decay=5e-4, schedule=schedule)
    else:
        schedule = MultiStep(milestones=(60, 80), gamma=0.1, warmup_epochs=5, warmup="linear")
        optim = Optim(lr=0.2 if inaturalist else 0.1, weight_decay=2e-4, schedule=schedule)
        recipe = replace_stream(with_epochs(recipe, 100), 0, batch=512 if inaturalist else 256)
    loss = LDAM(max_margin=MARGIN * SCALE, scale=1.0)
    recipe = replace_stage(recipe, 0, optim=optim, objective=(Ride(loss=loss),))
    spread = 0.05 if small else 0.015 if inaturalist else 0.02
    weighted = dataclasses.replace(loss, beta=0.9999)
    late = Ride(loss=weighted, reduction="weighted_mean", spread=spread)
    recipe = deferred(recipe, 160, objective=(late,))
    return recipe if small or epochs is None else with_epochs(recipe, epochs)


@register("ride", kind="recipes", paper="wang2021ride")
def ride(base: Recipe) -> Recipe:
    """Three diverse experts with LDAM, re-weighted in the last fifth (RIDE without routing)."""
    return ride_with(base)
