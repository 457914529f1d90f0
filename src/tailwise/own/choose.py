"""A sensible recipe by size, imbalance and device, with the reasons in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tailwise.core.stats import ClassStats

#: From this ratio of largest to smallest class on, a data set is treated as long-tailed.
LONG_TAILED = 1.5
#: Images of 32 x 32 pixels that a CPU run passes through ResNet-20 in all its epochs: some ten minutes.
CPU_BUDGET = 200_000
#: Epochs of a CPU run, whatever the budget says.
LEAST_EPOCHS, MOST_EPOCHS = 10, 100
#: Side at which a CPU trains images that are larger.
CPU_SIDE = 64
#: Steps that an epoch should have at least; the batch is halved until it has.
LEAST_STEPS = 8
SMALLEST_BATCH, LARGEST_BATCH = 8, 128


@dataclass(frozen=True)
class Choice:
    """What :func:`choose` chose.

    Attributes:
        recipe: A recipe's name.
        changes: As ``--with`` takes them.
        image_size: Side in pixels.
        epochs: None: those of the recipe.
        batch: None: that of the recipe.
        reasons: A sentence for each decision, by ``recipe``, ``image_size``, ``length`` and ``batch``.
    """

    recipe: str
    changes: tuple[str, ...]
    image_size: int
    epochs: int | None
    batch: int | None
    reasons: Mapping[str, str]


def choose(stats: ClassStats, image_size: int, *, on_gpu: bool) -> Choice:
    """A recipe for a data set; rules of thumb, none of which looks at an evaluation.

    Args:
        stats: Of the training images.
        image_size: The side that suits the images, in pixels.
        on_gpu: Whether a GPU will train.
    """
    reasons: dict[str, str] = {}
    factor = stats.imbalance_factor
    if factor < LONG_TAILED:
        recipe = "ce"
        reasons["recipe"] = f"ce: the classes are of about one size (imbalance factor {factor:.3g}), nothing to balance"
    else:
        recipe = "balanced-softmax"
        reasons["recipe"] = (
            f"balanced-softmax: the largest class has {factor:.3g} times the images of the smallest; the loss makes "
            "the logits those of equally frequent classes and costs nothing"
        )
    size, changes, epochs = image_size, (), None
    if not on_gpu:
        if image_size > CPU_SIDE:
            size = CPU_SIDE
            text = f"images of {size} pixels instead of {image_size}: there is no GPU (--image-size overrides)"
            reasons["image_size"] = text
        changes = ("backbone=resnet20",)
        passes = CPU_BUDGET * (32 / size) ** 2
        epochs = int(min(MOST_EPOCHS, max(LEAST_EPOCHS, passes / stats.num_images)))
        reasons["length"] = f"resnet20 for {epochs} epochs: there is no GPU (--epochs and --backbone override)"
    batch = LARGEST_BATCH
    while batch > SMALLEST_BATCH and stats.num_images < LEAST_STEPS * batch:
        batch //= 2
    if batch < LARGEST_BATCH:
        text = f"batches of {batch}: {stats.num_images} images make few larger ones; the learning rate follows"
        reasons["batch"] = text
    return Choice(recipe, changes, size, epochs, batch if batch < LARGEST_BATCH else None, reasons)
