"""Strong augmentation: AutoAugment and mixup (cubuk2019autoaugment; the rows marked with a paragraph sign in
cui2022reslt).
"""

from __future__ import annotations

import dataclasses

from tailwise.augment.mixup import Mixup
from tailwise.core.registry import register
from tailwise.engine.recipe import Recipe
from tailwise.recipes.base import SMALL_IMAGE, replace_stage


def strong(recipe: Recipe, *, alpha: float = 1.0) -> Recipe:
    """The recipe with AutoAugment and input mixup in every stage that trains the whole network.

    The policy is that of CIFAR-10 for small images and that of ImageNet for larger ones. Operations act after crop,
    flip and colours, mixup after the normalisation. Own definition: the paper names both methods for its marked rows
    and nothing else; its code calls a policy that is not in it, and has mixup without using it. Where the operations
    stand, mixup's ``alpha`` and whether 200 epochs are enough for it are not known. Colour jitter stays where the
    recipe has some.

    Args:
        recipe: Any, without a mix or feature augmentation of its own in these stages.
        alpha: Of the mixup's beta distribution.

    Raises:
        ValueError: A stage mixes already.
    """
    policy = "cifar10" if recipe.data.image_size <= SMALL_IMAGE else "imagenet"
    recipe = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, auto_augment=policy))
    for number, stage in enumerate(recipe.stages):
        if stage.trainable != "all":
            continue
        if stage.mix is not None or stage.feature_aug is not None:
            raise ValueError(f"strong augmentation includes mixup, and stage {number} of the recipe mixes already")
        recipe = replace_stage(recipe, number, mix=Mixup(alpha=alpha))
    return recipe


@register("ce-strong", kind="recipes", paper="cubuk2019autoaugment")
def ce_strong(base: Recipe) -> Recipe:
    """Cross-entropy with AutoAugment and mixup: what strong augmentation gives without anything else."""
    return strong(base)
