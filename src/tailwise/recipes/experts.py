"""Networks with several experts: RIDE (wang2021ride)."""

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
from tailwise.recipes.base import SMALL_IMAGE, replace_stage
from tailwise.recipes.stages import deferred

#: The margin of the smallest class in cosines, and the scale of the cosines.
MARGIN, SCALE = 0.5, 30.0


def with_experts(recipe: Recipe, inner: Head, experts: int = 3, *, reduced: bool = True) -> Recipe:
    """The recipe with a network of several experts in place of its own, and a head for each of them.

    Small images keep the depth of the recipe's network where there is such a network with experts; all others get
    ResNet-32, and larger images ResNeXt-50.

    Args:
        recipe: Any.
        inner: Each expert's head.
        experts: Number of experts.
        reduced: Whether the experts' own stages are narrower.
    """
    small = recipe.data.image_size <= SMALL_IMAGE
    name = f"ride_{recipe.backbone.name}"
    if name not in REGISTRY.names("backbones"):
        name = "ride_resnet32" if small else "ride_resnext50"
    width = recipe.backbone.width
    backbone = Backbone(name=name, width=width, experts=None if experts == 3 else experts, reduced=reduced)
    return dataclasses.replace(recipe, backbone=backbone, head=Experts(inner=inner, num_experts=experts))


def ride_with(base: Recipe, experts: int = 3) -> Recipe:
    """RIDE without its routing: diverse experts, re-weighted in the last fifth (wang2021ride).

    The settings are those of the authors' code: LDAM with margin 0.5 and scale 30 on a cosine classifier for each
    expert, diversity -0.2; class weights of effective numbers (0.9999, divided by the batch's weights) and temperatures
    by class for the last fifth. Weight decay 5e-4 on small images. Larger images: 100 epochs, rate 0.1 for batches of
    256 divided by 10 after 60 and 80, five epochs of warm-up, weight decay 2e-4.

    Deviations: the code also rotates CIFAR-100 images by up to 15 degrees, which is not done here; the routing that
    saves experts on easy images is a second training and not built.

    Args:
        base: Settings of the data, with one stage.
        experts: Number of experts.
    """
    small = base.data.image_size <= SMALL_IMAGE
    recipe = with_experts(base, Cosine(scale=SCALE), experts)
    if not small:
        schedule = MultiStep(milestones=(60, 80), gamma=0.1, warmup_epochs=5, warmup="linear")
        recipe = replace_stage(with_epochs(recipe, 100), 0, optim=Optim(lr=0.1, weight_decay=2e-4, schedule=schedule))
    else:
        optim = recipe.stages[0].optim or Optim()
        recipe = replace_stage(recipe, 0, optim=dataclasses.replace(optim, weight_decay=5e-4))
    loss = LDAM(max_margin=MARGIN * SCALE, scale=1.0)
    recipe = replace_stage(recipe, 0, objective=(Ride(loss=loss),))
    weighted = dataclasses.replace(loss, beta=0.9999)
    late = Ride(loss=weighted, reduction="weighted_mean", spread=0.05 if small else 0.02)
    return deferred(recipe, 160, objective=(late,))


@register("ride", kind="recipes", paper="wang2021ride")
def ride(base: Recipe) -> Recipe:
    """Three diverse experts with LDAM, re-weighted in the last fifth (RIDE without routing)."""
    return ride_with(base)
