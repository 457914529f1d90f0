"""The bag of tricks: input mixup, CAM-based balance-sampling, fine-tuning without mixup (zhang2021bag, Table 11)."""

from __future__ import annotations

import dataclasses

from tailwise.augment.base import FeatureAug, Mix
from tailwise.augment.mixup import Mixup
from tailwise.core.registry import register
from tailwise.engine.recipe import Recipe
from tailwise.engine.schedule import MultiStep
from tailwise.recipes.base import SMALL_IMAGE
from tailwise.recipes.cam import cam_sampling
from tailwise.recipes.mixing import mixed
from tailwise.recipes.settings import Variant, cam_cap, longer
from tailwise.samplers.power import Power


def mixup_and_cam(base: Recipe, mix: Mix | FeatureAug, variant: Variant = "paper", epochs: int | None = None) -> Recipe:
    """Mixing in both stages of CAM-based balance-sampling (zhang2021bag, Table 10).

    Args:
        base: With one stage.
        mix: Of images or features.
        variant: Of the generated images and the schedules; see :func:`tailwise.recipes.cam.cam_sampling`.
        epochs: Of both stages together, four fifths of them before the generated images come; None: twice those of
            the base settings, which gives the 320 + 80 epochs of the code on CIFAR and its 160 + 40 on ImageNet-LT.
    """
    recipe = mixed(longer(base, epochs or 2 * base.epochs), mix)
    return cam_sampling(recipe, Power(q=0.0), variant, cap=cam_cap(base))


def with_fine_tuning(recipe: Recipe, epochs: int, variant: Variant = "paper") -> Recipe:
    """The recipe with a last stage on the data's own images: class-balanced sampling, no mixing, a new optimiser.

    As in the code the rate is that with which the stage before began, 0.001 on CIFAR, divided by 10 after two fifths
    and after four fifths of the stage (8 and 16 of 20 epochs), in the official variant one epoch earlier. For
    CIFAR-100-LT the code goes on from the epoch of the second stage that was best on the test images, and with
    imbalance factor 50 it keeps the generated ones; here the stage goes on from the last epoch, without them.
    """
    before = recipe.stages[-1]
    assert before.optim is not None
    steps = tuple(max(1, round(epochs * share)) - int(variant == "official") for share in (0.4, 0.8))
    schedule = MultiStep(milestones=steps, gamma=0.1, warmup_epochs=0)
    streams = {name: dataclasses.replace(stream, generate=None) for name, stream in before.streams.items()}
    optim = dataclasses.replace(before.optim, schedule=schedule)
    last = dataclasses.replace(before, epochs=epochs, streams=streams, mix=None, feature_aug=None, optim=optim)
    return dataclasses.replace(recipe, stages=(*recipe.stages, last))


@register("bag-of-tricks", kind="recipes", paper="zhang2021bag")
def bag_of_tricks(base: Recipe) -> Recipe:
    """Input mixup, then class-balanced sampling with generated images, then a short training without mixup.

    Stages have the lengths of the authors' code, 320 + 80 + 20 epochs on CIFAR, of which the paper prints nothing;
    images are generated as printed.
    """
    return _bag(base, "paper")


@register("bag-of-tricks-official", kind="recipes", paper="zhang2021bag")
def bag_of_tricks_official(base: Recipe) -> Recipe:
    """The bag of tricks with the lengths, schedules and generated images of the authors' code."""
    recipe = _bag(base, "official")
    return dataclasses.replace(recipe, variant="own" if base.variant == "own" else "official")


@register("bag-of-tricks-200", kind="recipes", paper="zhang2021bag")
def bag_of_tricks_200(base: Recipe) -> Recipe:
    """The bag of tricks in the epochs of the base settings, 200 on CIFAR (152 + 38 + 10), as the paper says."""
    last = max(1, round(base.epochs / (1 + _parts(base))))
    return with_fine_tuning(mixup_and_cam(base, Mixup(), epochs=base.epochs - last), last)


def _bag(base: Recipe, variant: Variant) -> Recipe:
    recipe = mixup_and_cam(base, Mixup(), variant)
    return with_fine_tuning(recipe, max(1, round(recipe.epochs / _parts(base))), variant)


def _parts(base: Recipe) -> int:
    """The first two stages against the last: 400 epochs to 20 on CIFAR, 200 to 20 on ImageNet-LT."""
    return 20 if base.data.image_size <= SMALL_IMAGE else 10
