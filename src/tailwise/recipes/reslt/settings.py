"""The settings under which cui2022reslt measured its tables: CIFAR-LT, ImageNet-LT, Places-LT and iNaturalist 2018."""

from __future__ import annotations

import dataclasses
from typing import Literal

from tailwise.engine.recipe import Backbone, Optim, Recipe
from tailwise.engine.schedule import Cosine, MultiStep, Schedule
from tailwise.recipes import settings
from tailwise.recipes.base import SMALL_IMAGE, base_recipe, replace_stage, replace_stream
from tailwise.recipes.settings import INATURALIST_MEAN, INATURALIST_STD
from tailwise.report.paper import Variant

ImageNetBackbone = Literal["resnet10", "resnext50_32x4d", "resnext101_32x4d"]


def trained_like_reslt(base: Recipe, variant: Variant = "official") -> Recipe:
    """The base settings with the paper's optimiser, so that cross-entropy can be compared with ResLT.

    Small images: weight decay 5e-4, rate divided by 10 at 80 and again at 90 % of the epochs (160 and 180 of 200), the
    warm-up of the base settings, which begins at a third in the code and is printed as linear. The text gives no weight
    decay. Larger images: weight decay 5e-4, no Nesterov momentum, cosine after a warm-up of five epochs; the epochs
    are those of the base settings.

    Args:
        base: Settings with one stage.
        variant: paper or official.
    """
    (stage,) = base.stages
    assert stage.optim is not None
    if base.data.image_size > SMALL_IMAGE:
        schedule: Schedule = Cosine(warmup_epochs=5, warmup_counts=4)
        optim = dataclasses.replace(stage.optim, weight_decay=5e-4, nesterov=False, schedule=schedule)
        return replace_stage(base, 0, optim=optim)
    old = stage.optim.schedule
    schedule = MultiStep(
        milestones=(round(0.8 * stage.epochs), round(0.9 * stage.epochs)),
        gamma=0.1,
        warmup_epochs=old.warmup_epochs if isinstance(old, MultiStep | Cosine) else 0,
        warmup="third" if variant == "official" else "linear",
    )
    return replace_stage(base, 0, optim=dataclasses.replace(stage.optim, weight_decay=5e-4, schedule=schedule))


def cifar_lt(name: Literal["cifar10", "cifar100"], imbalance_factor: float, variant: Variant) -> Recipe:
    """Cross-entropy on CIFAR-LT with ResNet-32, 200 epochs, batch 128."""
    return trained_like_reslt(settings.cifar_lt(name, imbalance_factor), variant)


def imagenet_lt(backbone: ImageNetBackbone, variant: Variant) -> Recipe:
    """Cross-entropy on ImageNet-LT, 180 epochs; give the list files with ``--data`` and ``--root``.

    Batch 256 and rate 0.1 (ResNeXt-101: 128 and 0.05), cosine to 0. The code warms up for five epochs, jitters colours
    by 0.4 and has weight decay 5e-4; the text gives none of these and takes its setting from kang2020decoupling, so
    both variants have the jitter and the weight decay, and only the code's the warm-up.
    """
    large = backbone == "resnext101_32x4d"
    schedule = Cosine(warmup_epochs=5, warmup_counts=4) if variant == "official" else Cosine()
    return _full_size(backbone, variant, epochs=180, large=large, weight_decay=5e-4, schedule=schedule)


def inaturalist2018(backbone: Literal["resnet50", "resnet152"], variant: Variant) -> Recipe:
    """Cross-entropy on iNaturalist 2018, 200 epochs, weight decay 1e-4, no warm-up and no colour jitter.

    ResNet-152 has batch 128 and rate 0.05, ResNet-50 256 and 0.1. Normalised by the statistics of the code.
    """
    recipe = _full_size(
        backbone, variant, epochs=200, large=backbone == "resnet152", weight_decay=1e-4, schedule=Cosine()
    )
    data = dataclasses.replace(recipe.data, color_jitter=0.0, mean=INATURALIST_MEAN, std=INATURALIST_STD)
    return dataclasses.replace(recipe, data=data)


def places_lt(variant: Variant) -> Recipe:
    """Cross-entropy on Places-LT: ResNet-152 from torchvision's ImageNet weights, 30 epochs, batch 128, rate 0.05.

    The authors published no code for it. Weight decay 5e-4 is ours, the text gives none. Which layers are trained is
    not said either; here all are.
    """
    recipe = _full_size("resnet152", variant, epochs=30, large=True, weight_decay=5e-4, schedule=Cosine())
    return dataclasses.replace(recipe, backbone=Backbone(name="resnet152.tv_in1k", pretrained=True))


def _full_size(
    backbone: str, variant: Variant, *, epochs: int, large: bool, weight_decay: float, schedule: Schedule
) -> Recipe:
    """Images of 224 pixels; ``large`` is the batch and rate of networks that need much memory."""
    recipe = base_recipe("list", None, 224)
    optim = Optim(lr=0.05 if large else 0.1, nesterov=False, weight_decay=weight_decay, schedule=schedule)
    recipe = replace_stage(replace_stream(recipe, 0, batch=128 if large else 256), 0, epochs=epochs, optim=optim)
    return dataclasses.replace(
        recipe, variant=variant, backbone=dataclasses.replace(recipe.backbone, name=backbone, pretrained=False)
    )
