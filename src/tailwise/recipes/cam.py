"""CAM-based sampling: ordinary training, then re-sampling with generated images (zhang2021bag, Table 7)."""

from __future__ import annotations

import dataclasses
from typing import Literal

from tailwise.augment.cam_transform import CamTransform
from tailwise.core.registry import REGISTRY, register
from tailwise.engine.recipe import Optim, Recipe
from tailwise.engine.schedule import MultiStep
from tailwise.samplers.base import Sampler
from tailwise.samplers.over import Over
from tailwise.samplers.power import Power
from tailwise.samplers.progressive import Progressive
from tailwise.samplers.under import Under

#: paper and official generate images by class activation maps, as printed and as the code does; image_trans without.
Variant = Literal["paper", "official", "image_trans"]

#: Share of the epochs that the second stage takes, 40 of 200.
SECOND = 0.2


def cam_sampling(recipe: Recipe, sampler: Sampler, variant: Variant = "paper", *, cap: int | None = None) -> Recipe:
    """The recipe for four fifths of its epochs, then a stage with a sampler and generated images.

    As in the authors' code the second stage trains everything from the last weights of the first, with a new optimiser,
    a hundredth of the learning rate, and a hundredth of that for its second half: 40 epochs after 160, 0.001 and
    0.00001 on CIFAR. The maps come from the last weights too; the code takes those that were best on the test images.
    The paper does not print the length of the stages nor the rates.

    The first stage keeps its schedule, cut off at its end. In the official variant a schedule with milestones is that
    of the code: it warms up from a third of the rate and steps before the epoch, in both stages, so that the last epoch
    of the first stage on CIFAR has a hundredth of the rate already.

    Args:
        recipe: With one stage.
        sampler: Of the second stage, for its first stream.
        variant: Which images are generated: as printed, as in the code, or by transforms of the whole image.
        cap: Most generated images of a class; see :class:`~tailwise.augment.cam_transform.CamTransform`.

    Raises:
        ValueError: The recipe has several stages, or one that cannot be divided.
    """
    if len(recipe.stages) != 1:
        raise ValueError(f"expected a recipe with one stage to divide, got {len(recipe.stages)} stages")
    (stage,) = recipe.stages
    if stage.steps is not None or stage.epochs < 2 or stage.optim is None:
        raise ValueError("a stage that is divided needs at least two epochs and no length in steps")
    epochs = min(max(1, round(stage.epochs * SECOND)), stage.epochs - 1)
    first = next(iter(stage.streams))
    generate = _generate(variant, cap)
    streams = {**stage.streams, first: dataclasses.replace(stage.streams[first], sampler=sampler, generate=generate)}
    early = int(variant == "official")
    half = MultiStep(milestones=(max(1, round(epochs / 2)) - early,), gamma=0.01, warmup_epochs=0)
    optim: Optim = dataclasses.replace(stage.optim, lr=stage.optim.lr / 100, schedule=half)
    second = dataclasses.replace(stage, epochs=epochs, streams=streams, start_from=None, reset=(), optim=optim)
    schedule = stage.optim.schedule
    if early and isinstance(schedule, MultiStep):
        milestones = tuple(max(0, milestone - early) for milestone in schedule.milestones)
        schedule = dataclasses.replace(schedule, milestones=milestones, warmup="third")
    before = dataclasses.replace(stage.optim, schedule=schedule)
    stages = (dataclasses.replace(stage, epochs=stage.epochs - epochs, optim=before), second)
    label = "official" if variant == "official" and recipe.variant != "own" else recipe.variant
    return dataclasses.replace(recipe, stages=stages, variant=label)


@register("cam-balance-sampling", kind="recipes", paper="zhang2021bag")
def cam_balance_sampling(base: Recipe) -> Recipe:
    """Cross-entropy, then class-balanced sampling with images whose foreground is moved (CAM-based sampling)."""
    return cam_sampling(base, Power(q=0.0))


@register("cam-balance-sampling-official", kind="recipes", paper="zhang2021bag")
def cam_balance_sampling_official(base: Recipe) -> Recipe:
    """CAM-based class-balanced sampling with the masks, transforms and fixed images of the authors' code."""
    return cam_sampling(base, Power(q=0.0), "official")


@register("cam-square-root-sampling", kind="recipes", paper="zhang2021bag")
def cam_square_root_sampling(base: Recipe) -> Recipe:
    """Cross-entropy, then square-root sampling with images whose foreground is moved."""
    return cam_sampling(base, Power(q=0.5))


@register("cam-progressive-sampling", kind="recipes", paper="zhang2021bag")
def cam_progressive_sampling(base: Recipe) -> Recipe:
    """Cross-entropy, then progressively-balanced sampling with images whose foreground is moved.

    The epochs of the progress are those of the second stage, from 1, as in the authors' code.
    """
    length = cam_sampling(base, Power()).stages[1].epochs
    return cam_sampling(base, Progressive(start=1 / length))


@register("cam-over-sampling", kind="recipes", paper="zhang2021bag")
def cam_over_sampling(base: Recipe) -> Recipe:
    """Cross-entropy, then random over-sampling with images whose foreground is moved."""
    return cam_sampling(base, Over())


@register("cam-under-sampling", kind="recipes", paper="zhang2021bag")
def cam_under_sampling(base: Recipe) -> Recipe:
    """Cross-entropy, then random under-sampling with images whose foreground is moved."""
    return cam_sampling(base, Under())


@register("image-trans-balance-sampling", kind="recipes", paper="zhang2021bag")
def image_trans_balance_sampling(base: Recipe) -> Recipe:
    """The control of CAM-based sampling: the same transforms of the whole image, class-balanced."""
    return cam_sampling(base, Power(q=0.0), "image_trans")


def _generate(variant: Variant, cap: int | None) -> CamTransform:
    """The component of a variant, by its name in the registry."""
    names = {"paper": "cam", "official": "cam_official", "image_trans": "image_trans"}
    if variant not in names:
        raise ValueError(f"variant must be one of {', '.join(names)}, got {variant!r}")
    generate: CamTransform = REGISTRY.make("generators", names[variant], cap=cap)
    return generate
