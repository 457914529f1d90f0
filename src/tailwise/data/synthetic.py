"""Class-prototype images with noise that a small network learns in seconds, for tests and examples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tailwise.core.errors import DataError
from tailwise.core.registry import register
from tailwise.core.rng import generator
from tailwise.data.index import Pool
from tailwise.data.open import Splits, refuse_unused


def synthetic_pool(
    num_classes: int = 4,
    *,
    counts: Sequence[int] | None = None,
    per_class: int = 40,
    test_per_class: int = 10,
    size: int = 16,
    noise: float = 0.15,
    seed: int = 0,
) -> Splits:
    """A data set whose classes are blurred patches of colour, one prototype per class, plus Gaussian noise.

    Args:
        num_classes: Number of classes ``C``.
        counts: Training images per class, shape ``[C]``; ``None`` gives ``per_class`` to each.
        per_class: Training images per class when ``counts`` is not given.
        test_per_class: Test images per class.
        size: Side of the images in pixels.
        noise: Standard deviation of the noise as a part of the full grey scale.
        seed: Seed of prototypes and noise.

    Raises:
        DataError: Fewer than two classes, or counts that do not fit the classes.
    """
    train_counts = [per_class] * num_classes if counts is None else [int(count) for count in counts]
    if num_classes < 2 or len(train_counts) != num_classes or min(*train_counts, test_per_class, size) < 1:
        raise DataError(
            f"synthetic data need two classes or more, a count of at least 1 for each and a size of at least 1; got "
            f"{num_classes} classes, counts {train_counts}, {test_per_class} test images, size {size}"
        )
    patches = generator(seed, "synthetic", "prototype").uniform(0.1, 0.9, (num_classes, 4, 4, 3))
    nearest = np.arange(size) * 4 // size
    prototypes = patches[:, nearest][:, :, nearest]
    names = tuple(f"class {label}" for label in range(num_classes))

    def pool(split: str, per_label: Sequence[int]) -> Pool:
        labels = np.repeat(np.arange(num_classes, dtype=np.int64), per_label)
        drawn = generator(seed, "synthetic", split).normal(0.0, noise, (labels.size, size, size, 3))
        array: NDArray[np.uint8] = np.rint(np.clip(prototypes[labels] + drawn, 0, 1) * 255).astype(np.uint8)
        return Pool("synthetic", split, names, labels, array=array)

    return Splits(pool("train", train_counts), pool("test", [test_per_class] * num_classes))


@register("synthetic", kind="datasets")
def synthetic(
    *,
    location: Path | None = None,
    root: Path | None = None,
    eval_split: str = "auto",
    eval_list: Path | None = None,
) -> Splits:
    """Four classes of made-up 16x16 images that a small network tells apart in seconds, for tests and examples.

    Raises:
        DataError: An argument that this data set does not take.
    """
    refuse_unused("synthetic", {"location": location, "root": root, "eval_split": eval_split, "eval_list": eval_list})
    return synthetic_pool()
