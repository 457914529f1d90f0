"""Feature space augmentation: any training first, then the classifier with fused features (chu2020feature)."""

from __future__ import annotations

import dataclasses
from typing import Literal

from tailwise.augment.base import FeatureAug
from tailwise.augment.feature_space import FeatureSpace
from tailwise.core.checks import at_least
from tailwise.core.registry import register
from tailwise.engine.recipe import Optim, Recipe, Stage, Stream
from tailwise.engine.schedule import Constant
from tailwise.losses.cross_entropy import CrossEntropy
from tailwise.objectives.classification import Classification
from tailwise.recipes import reweighting
from tailwise.recipes.base import SMALL_IMAGE, replace_stage
from tailwise.samplers.confusing_classes import ConfusingClasses
from tailwise.samplers.head_classes import HeadClasses
from tailwise.samplers.tail_classes import By, TailClasses

#: Phase II on small images as printed: 6,400 steps of 128 samples, 16 of them images of tail classes.
STEPS, TAIL_IMAGES = 6400, 16
#: The same on digits, in proportion to their number and to the length of Phase I; ours.
DIGITS_STEPS = 600
#: Phase II on iNaturalist as printed; on other full-size images nothing is printed, and it is taken for them too.
FULL_SIZE_STEPS = 200
#: Steps after which a line is logged; an epoch of Phase II in the log.
LOGGED = 100

#: Fusion right before the pooling.
FUSION = FeatureSpace()

Images = Literal["augmented", "plain"]


def feature_space(
    recipe: Recipe,
    *,
    augment: FeatureAug | None = FUSION,
    share: float = 0.9,
    each: int = 3,
    classes: int = 3,
    tail_images: int = TAIL_IMAGES,
    steps: int | None = None,
    by: By = "class",
    head_by: By = "image",
    images: Images | None = None,
) -> Recipe:
    r"""The recipe as Phase I, and Phase II behind it.

    Phase II trains the classifier with cross-entropy at a fixed rate of 0.001 (momentum 0.9, no weight decay: neither
    is printed) while the rest stays frozen in evaluation mode. A step has :math:`N_t` images of tail classes,
    :math:`N_t N_a` samples fused from them and :math:`N_t (1 + N_a)` images of head classes.

    Algorithm 1 reads "all training images' features", so Phase II shows plain images; where workers crop images as they
    decode them (``random_resized_crop``) it shows augmented ones.

    Args:
        recipe: Phase I, with any number of stages; its last one is the pattern of Phase II.
        augment: What makes fused samples; None: real images of tail classes stand in their place, which is the paper's
            "No Aug" (Fig. 9).
        share: :math:`h_r`, the least share of all images that head classes hold.
        each: :math:`N_a`, fused samples of every tail image.
        classes: :math:`N_f`, confusing classes of every tail class.
        tail_images: :math:`N_t`.
        steps: Of Phase II; None: 6,400 on small images, 600 on digits, 200 on full-size ones.
        by: Whether a tail class or a tail image is drawn; the paper leaves it open.
        head_by: Whether a head class or a head image is drawn.
        images: None: as said above.

    Raises:
        ValueError: A number is out of range.
    """
    at_least("each (N_a)", each, 1)
    at_least("tail_images (N_t)", tail_images, 1)
    small = recipe.data.image_size <= SMALL_IMAGE
    if steps is None:
        steps = FULL_SIZE_STEPS if not small else DIGITS_STEPS if recipe.data.name in ("digits", "synthetic") else STEPS
    if images is None:
        images = "augmented" if recipe.data.augmentation == "random_resized_crop" else "plain"
    tail, head = TailClasses(share=share, by=by), HeadClasses(share=share, by=head_by)
    half = tail_images * (1 + each)
    sizes = {"tail": Stream(sampler=tail, batch=half)}
    if augment is not None:
        confusing = ConfusingClasses(num_classes=classes)
        sizes = {
            "tail": Stream(sampler=tail, batch=tail_images),
            "confusing": Stream(sampler=confusing, batch=tail_images * each),
        }
    sizes["head"] = Stream(sampler=head, batch=half)
    total = sum(stream.batch for stream in sizes.values())
    stage = Stage(
        steps=steps,
        steps_per_epoch=min(steps, LOGGED),
        streams=sizes,
        images=images,
        feature_aug=augment,
        # Their sum is the mean over all samples of the batch.
        objective=tuple(
            Classification(loss=CrossEntropy(), stream=name, weight=stream.batch / total)
            for name, stream in sizes.items()
        ),
        trainable="head",
        optim=Optim(lr=0.001, momentum=0.9, nesterov=False, weight_decay=0.0, schedule=Constant()),
    )
    return dataclasses.replace(recipe, stages=(*recipe.stages, stage))


def at_depth(recipe: Recipe, layer: str, after: tuple[str, ...]) -> Recipe:
    """Feature space augmentation after a layer, training all layers after it (Fig. 9).

    Args:
        recipe: With :class:`~tailwise.augment.feature_space.FeatureSpace` in its last stage.
        layer: After which it acts.
        after: Names, within the backbone, of what comes after it; trained with the classifier.

    Raises:
        ValueError: The last stage has another feature augmentation, or none.
    """
    last = recipe.stages[-1]
    if not isinstance(last.feature_aug, FeatureSpace):
        raise ValueError("the last stage has no feature space augmentation to move")
    moved = dataclasses.replace(last.feature_aug, layer=layer)
    trained = "|".join((*(rf"backbone\.{name}\." for name in after), r"head\."))
    return replace_stage(recipe, len(recipe.stages) - 1, feature_aug=moved, trainable=trained, images="plain")


@register("feature-space-augmentation", kind="recipes", paper="chu2020feature")
def feature_space_augmentation(base: Recipe) -> Recipe:
    """Cross-entropy, then the classifier on tail features fused with generic features of confusing classes."""
    return feature_space(base)


@register("feature-space-augmentation-focal", kind="recipes", paper="chu2020feature")
def feature_space_augmentation_focal(base: Recipe) -> Recipe:
    """The same with focal loss in Phase I: "Ours+FL" of Table 3."""
    return feature_space(reweighting.focal(base))


@register("feature-space-augmentation-cb", kind="recipes", paper="chu2020feature")
def feature_space_augmentation_cb(base: Recipe) -> Recipe:
    """The same with class-balanced cross-entropy in Phase I."""
    return feature_space(reweighting.cb_ce(base))


@register("feature-space-no-aug", kind="recipes", paper="chu2020feature")
def feature_space_no_aug(base: Recipe) -> Recipe:
    """The control: Phase II with real images of tail classes in the place of fused samples ("No Aug" of Fig. 9)."""
    return feature_space(base, augment=None)
