"""The settings under which zhang2021bag measured its tables: CIFAR-LT, ImageNet-LT and iNaturalist 2018."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from tailwise.engine.recipe import Optim, Recipe
from tailwise.engine.rescale import with_epochs
from tailwise.engine.schedule import MultiStep
from tailwise.recipes.base import SMALL_IMAGE, base_recipe, replace_stage, replace_stream

#: paper: as printed; official: as the authors' code is configured.
Variant = Literal["paper", "official"]

#: Channel statistics of iNaturalist 2018 in the code of kang2020decoupling, cui2022reslt and wang2021ride.
INATURALIST_MEAN, INATURALIST_STD = (0.466, 0.471, 0.380), (0.195, 0.194, 0.192)


def cifar_lt(name: Literal["cifar10", "cifar100"], imbalance_factor: float) -> Recipe:
    """Cross-entropy on CIFAR-10-LT or CIFAR-100-LT; both variants are configured alike (ResNet-32, 200 epochs)."""
    recipe = base_recipe(name)
    return dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, imbalance_factor=imbalance_factor))


def imagenet_lt(variant: Variant = "paper") -> Recipe:
    """Cross-entropy on ImageNet-LT with ResNet-10; give the list files with ``--data`` and ``--root``.

    As printed: 90 epochs, batch 512, rate 0.2 divided by 10 at 30, 60 and 80, weight decay 1e-4, no warm-up and no
    colour jitter. The code has 100 epochs, divides at 60 and 80, and jitters colours by 0.4.
    """
    return _full_size("resnet10", variant, color_jitter=0.4 if variant == "official" else 0.0)


def inaturalist2018(variant: Variant = "paper") -> Recipe:
    """Cross-entropy on iNaturalist 2018 with ResNet-50 (timm); give the list files with ``--data`` and ``--root``.

    Epochs and rates as for :func:`imagenet_lt`. No colour jitter in either variant: none is printed, and what the code
    has for this data set is not known to us. Its BatchNorm statistics are those of four processes together; here they
    are those of each process.
    """
    return _full_size("resnet50", variant, color_jitter=0.0)


def stepped_early(recipe: Recipe) -> Recipe:
    """The recipe with the schedules of the authors' code, which steps them before the epoch.

    Milestones act one epoch earlier, and a warm-up begins at a third of the rate. The stages keep their lengths: in
    the code deferred re-weighting and re-sampling begin with epoch 161, the smaller rate with epoch 160.
    """
    for number, stage in enumerate(recipe.stages):
        schedule = None if stage.optim is None else stage.optim.schedule
        if stage.optim is not None and isinstance(schedule, MultiStep):
            milestones = tuple(max(0, milestone - 1) for milestone in schedule.milestones)
            early = dataclasses.replace(schedule, milestones=milestones, warmup="third")
            recipe = replace_stage(recipe, number, optim=dataclasses.replace(stage.optim, schedule=early))
    return recipe


def longer(recipe: Recipe, epochs: int) -> Recipe:
    """The recipe for another number of epochs; milestones in proportion, the warm-up as it was.

    Args:
        recipe: With one stage.
        epochs: Of the result.

    Raises:
        ValueError: The recipe has several stages.
        TailwiseError: As :func:`~tailwise.engine.rescale.with_epochs`.
    """
    if len(recipe.stages) != 1:
        raise ValueError(f"expected a recipe with one stage, got {len(recipe.stages)} stages")
    changed = with_epochs(recipe, epochs)
    old, new = recipe.stages[0].optim, changed.stages[0].optim
    assert old is not None
    assert new is not None
    schedule: Any = new.schedule
    names = [name for name in ("warmup_epochs", "warmup_counts") if hasattr(schedule, name)]
    schedule = dataclasses.replace(schedule, **{name: getattr(old.schedule, name) for name in names})
    return replace_stage(changed, 0, optim=dataclasses.replace(new, schedule=schedule))


def cam_cap(recipe: Recipe) -> int | None:
    """Most generated images of a class in the code: none on small images, 100 for ImageNet-LT, 50 for iNaturalist.

    Full-size images with another backbone than ResNet-10 count as iNaturalist's.
    """
    if recipe.data.image_size <= SMALL_IMAGE:
        return None
    return 100 if recipe.backbone.name == "resnet10" else 50


def _full_size(backbone: str, variant: Variant, color_jitter: float) -> Recipe:
    if variant not in ("paper", "official"):
        raise ValueError(f"variant must be paper or official, got {variant!r}")
    official = variant == "official"
    recipe = base_recipe("list", None, 224)
    schedule = MultiStep(milestones=(60, 80) if official else (30, 60, 80), gamma=0.1, warmup_epochs=0)
    optim = Optim(lr=0.2, weight_decay=1e-4, schedule=schedule)
    recipe = replace_stage(replace_stream(recipe, 0, batch=512), 0, epochs=100 if official else 90, optim=optim)
    return dataclasses.replace(
        recipe,
        variant=variant,
        data=dataclasses.replace(recipe.data, color_jitter=color_jitter),
        backbone=dataclasses.replace(recipe.backbone, name=backbone),
    )
