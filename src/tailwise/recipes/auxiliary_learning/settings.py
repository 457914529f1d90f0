"""The settings for the tables of zhang2019balance, most of which the paper leaves open, and ours for CIFAR-LT."""

from __future__ import annotations

import dataclasses
from typing import Literal

from tailwise.engine.recipe import Backbone, Optim, Recipe
from tailwise.engine.schedule import Cosine
from tailwise.heads.multi import Multi
from tailwise.recipes.base import base_recipe, replace_stage, replace_stream

#: Width of the layer between pooling and heads, with which all methods of the paper are compared.
HIDDEN = 512
#: S, images of each of the two samplers in a step.
BATCH = 128


def imagenet_lt(backbone: Literal["resnet10", "resnet50"] = "resnet10") -> Recipe:
    """Cross-entropy on ImageNet-LT from scratch; give the list files with ``--data`` and ``--root``.

    Printed are SGD, a cosine schedule, the 512-wide layer and, for the rest, "by referring to" liu2019large and
    cross-validation. Ours, after the code of that paper: batch 128, rate 0.1, momentum 0.9 without Nesterov, weight
    decay 5e-4, random resized crops, flips and colour jitter of 0.4. The paper's Fig. 2 goes to 60 epochs; ours are 90,
    with which others report nearly the paper's numbers for regular sampling.
    """
    return _full_size(Backbone(name=backbone), Optim(lr=0.1, nesterov=False, weight_decay=5e-4, schedule=Cosine()), 90)


def places_lt(backbone: Literal["resnet152", "resnet50"] = "resnet152") -> Recipe:
    """Cross-entropy on Places-LT; give the list files with ``--data`` and ``--root``.

    ResNet-50 from scratch has the settings of :func:`imagenet_lt`. ResNet-152 begins with weights of ImageNet, which
    are torchvision's here (timm's ``tv_in1k``); those of liu2019large come from another framework. As in that code its
    backbone has a hundredth of the rate of the layers behind it (0.001 and 0.1), for 30 epochs.
    """
    if backbone == "resnet50":
        return imagenet_lt("resnet50")
    pretrained = Backbone(name="resnet152.tv_in1k", pretrained=True)
    factors = {r"backbone\.": 0.01}
    optim = Optim(lr=0.1, nesterov=False, weight_decay=5e-4, schedule=Cosine(), lr_factors=factors)
    return _full_size(pretrained, optim, 30)


def cifar_lt(name: Literal["cifar10", "cifar100"], imbalance_factor: float = 100.0) -> Recipe:
    """Cross-entropy on CIFAR-LT, which the paper does not have: the usual settings with a cosine schedule.

    No layer between pooling and heads. With ten classes and 128 images a step, class-balanced sampling shows eight
    classes with 16 images each; with a hundred, 32 with the paper's four.
    """
    recipe = base_recipe(name)
    optim = Optim(lr=0.1, weight_decay=5e-4, schedule=Cosine(warmup_epochs=5))
    recipe = replace_stage(recipe, 0, optim=optim)
    data = dataclasses.replace(recipe.data, imbalance_factor=imbalance_factor)
    return dataclasses.replace(recipe, data=data, variant="own")


def _full_size(backbone: Backbone, optim: Optim, epochs: int) -> Recipe:
    recipe = base_recipe("list", None, 224)
    recipe = replace_stage(replace_stream(recipe, 0, batch=BATCH), 0, epochs=epochs, optim=optim)
    return dataclasses.replace(
        recipe,
        variant="paper",
        backbone=backbone,
        head=Multi(auxiliary=False, hidden=HIDDEN),
        evaluate=dataclasses.replace(recipe.evaluate, shots="oltr"),
    )
