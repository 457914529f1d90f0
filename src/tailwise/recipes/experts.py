"""Networks with several experts: RIDE (wang2021ride), and residual branches for each expert (cui2022reslt)."""

from __future__ import annotations

import dataclasses

from tailwise.core.groups import Groups
from tailwise.core.registry import REGISTRY, register
from tailwise.engine.recipe import Backbone, Optim, Recipe
from tailwise.engine.rescale import with_epochs
from tailwise.engine.schedule import Cosine as CosineSchedule
from tailwise.engine.schedule import MultiStep
from tailwise.heads.base import Head
from tailwise.heads.cosine import Cosine
from tailwise.heads.experts import Experts
from tailwise.heads.reslt import ResLT
from tailwise.losses.ldam import LDAM
from tailwise.objectives.per_expert import PerExpert
from tailwise.objectives.reslt import ResLT as ResLTObjective
from tailwise.objectives.ride import Ride
from tailwise.recipes.base import SMALL_IMAGE, replace_stage, replace_stream
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


def reslt_experts_with(base: Recipe, experts: int = 3, *, reduced: bool = True, alpha: float | None = None) -> Recipe:
    """Residual branches for each expert, the losses added up (cui2022reslt, Tables 5 and 7).

    Small images have the settings of the paper's CIFAR-LT training: rate divided by 10 after 160 and 180 of 200 epochs,
    weight decay 5e-4, a warm-up from a third. Larger images have those of the authors' code for ResNeXt-50 on
    ImageNet-LT: 180 epochs with a cosine schedule, batches of 128, rate 0.05, weight decay 5e-4, no Nesterov momentum;
    each expert has a convolution with BatchNorm and rectifier for its branches. Own definition on small images: the
    authors published no code of that variant.

    Args:
        base: Settings of the data, with one stage.
        experts: Number of experts.
        reduced: Whether the experts' own stages are narrower; the code does not do so for iNaturalist 2018.
        alpha: Share of the branch losses; None: 0.995 on small images, 0.99 on larger ones.
    """
    small = base.data.image_size <= SMALL_IMAGE
    head = ResLT() if small else ResLT(branch="conv_bn_relu")
    recipe = with_experts(base, head, experts, reduced=reduced)
    alpha = (0.995 if small else 0.99) if alpha is None else alpha
    objective = PerExpert(objective=ResLTObjective(alpha=alpha, groups=Groups(rule="official")))
    if small:
        optim = recipe.stages[0].optim or Optim()
        schedule = optim.schedule
        if isinstance(schedule, MultiStep):
            schedule = dataclasses.replace(schedule, gamma=0.1, warmup="third")
        optim = dataclasses.replace(optim, weight_decay=5e-4, schedule=schedule)
        return replace_stage(recipe, 0, optim=optim, objective=(objective,))
    schedule = CosineSchedule(warmup_epochs=5, warmup_counts=4)
    optim = Optim(lr=0.05, nesterov=False, weight_decay=5e-4, schedule=schedule)
    recipe = replace_stream(with_epochs(recipe, 180), 0, batch=128)
    return replace_stage(recipe, 0, optim=optim, objective=(objective,))


@register("reslt-experts", kind="recipes", paper="cui2022reslt")
def reslt_experts(base: Recipe) -> Recipe:
    """Three experts with residual branches each, their logits averaged (ResLT with three experts)."""
    return reslt_experts_with(base)
