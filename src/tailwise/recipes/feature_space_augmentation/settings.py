"""The settings under which chu2020feature measured its tables, and what it leaves open."""

from __future__ import annotations

import dataclasses
from typing import Literal

from tailwise.engine.recipe import Optim, Recipe
from tailwise.engine.schedule import MultiStep
from tailwise.recipes.base import base_recipe, replace_stage
from tailwise.report.paper import Column, Variant

#: The key of the paper in the bibliography.
PAPER = "chu2020feature"
#: Imbalance factors of Tables 1 and 2.
FACTORS = (10, 20, 50, 100, 200)
NETWORKS = (("resnet18_small", "ResNet-18"), ("resnet34_small", "ResNet-34"))

CifarName = Literal["cifar10", "cifar100"]


def cifar_lt(name: CifarName, imbalance_factor: float, backbone: str = "resnet18_small") -> Recipe:
    """Phase I on CIFAR-LT: 300 epochs at a rate of 0.1, divided by 10 every 150.

    Not printed, and taken from the one public attempt at the paper: batch 128, momentum 0.9, weight decay 2e-4. That
    there is no Nesterov momentum and no warm-up, and that the stem of the network has no pooling, is our reading.
    """
    recipe = base_recipe(name)
    schedule = MultiStep(milestones=(150,), gamma=0.1, warmup_epochs=0)
    optim = Optim(lr=0.1, nesterov=False, weight_decay=2e-4, schedule=schedule)
    return dataclasses.replace(
        replace_stage(recipe, 0, epochs=300, optim=optim),
        data=dataclasses.replace(recipe.data, imbalance_factor=imbalance_factor),
        backbone=dataclasses.replace(recipe.backbone, name=backbone),
    )


def cifar_columns(name: CifarName, networks: tuple[tuple[str, str], ...] = NETWORKS) -> tuple[Column, ...]:
    """Every network with every imbalance factor."""

    def column(backbone: str, title: str, factor: int) -> Column:
        def base(variant: Variant) -> Recipe:
            return cifar_lt(name, float(factor), backbone)

        key = backbone.removesuffix("_small")
        return Column(f"{name}-lt-{factor}-{key}", f"{title}, {factor}", base)

    return tuple(column(backbone, title, factor) for backbone, title in networks for factor in FACTORS)


def imagenet_lt(variant: Variant = "paper") -> Recipe:
    """Phase I on ImageNet-LT with ResNet-10 from scratch; no schedule is printed: that of the base settings."""
    recipe = base_recipe("list", None, 224)
    return dataclasses.replace(recipe, variant=variant, evaluate=dataclasses.replace(recipe.evaluate, shots="fsa"))


def places_lt(variant: Variant = "paper") -> Recipe:
    """Phase I on Places-LT with a pretrained ResNet-152.

    No schedule is printed; ours is 30 epochs at a rate of 0.01, divided by 10 every 10.
    """
    recipe = imagenet_lt(variant)
    schedule = MultiStep(milestones=(10, 20), gamma=0.1, warmup_epochs=0)
    optim = Optim(lr=0.01, nesterov=False, weight_decay=5e-4, schedule=schedule)
    backbone = dataclasses.replace(recipe.backbone, name="resnet152", pretrained=True)
    return dataclasses.replace(replace_stage(recipe, 0, epochs=30, optim=optim), backbone=backbone)


def inaturalist(variant: Variant = "paper") -> Recipe:
    """Phase I on iNaturalist: 100 epochs at a rate of 0.1, divided by 10 every 30; the row chooses the network.

    Batch, momentum and weight decay are not printed; ours are 256, 0.9 and 1e-4. Give the list files of 2017 or 2018
    with ``--data`` and ``--root``.
    """
    recipe = base_recipe("list", None, 224)
    schedule = MultiStep(milestones=(30, 60, 90), gamma=0.1, warmup_epochs=0)
    optim = Optim(lr=0.1, nesterov=False, weight_decay=1e-4, schedule=schedule)
    return dataclasses.replace(
        replace_stage(recipe, 0, epochs=100, optim=optim),
        variant=variant,
        data=dataclasses.replace(recipe.data, color_jitter=0.0),
        backbone=dataclasses.replace(recipe.backbone, name="resnet50"),
    )
