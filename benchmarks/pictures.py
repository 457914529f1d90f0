"""Made-up data sets of a given shape, as folders of images: speed does not depend on what the pixels show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tailwise.data.profiles import class_profile


def cifar_like_arrays(
    num_classes: int, largest: int, imbalance: float, tests: int, size: int = 32
) -> tuple[tuple[NDArray[np.uint8], NDArray[np.int64]], tuple[NDArray[np.uint8], NDArray[np.int64]]]:
    """Random images with the class sizes of a CIFAR-LT set, and a balanced test set.

    Returns:
        Training images ``[N,size,size,3]`` with labels, and test images with labels.
    """
    rng = np.random.default_rng(0)
    counts = class_profile("exponential", num_classes, largest, imbalance)
    labels = np.repeat(np.arange(num_classes), counts)
    test_labels = np.repeat(np.arange(num_classes), tests)

    def images(n: int) -> NDArray[np.uint8]:
        return rng.integers(0, 256, (n, size, size, 3), dtype=np.uint8)

    return (images(len(labels)), labels), (images(len(test_labels)), test_labels)


def write_folder(folder: Path, split: str, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> None:
    """Writes images as ``folder/split/<class>/<number>.png``."""
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        place = folder / split / f"{label:03d}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{number:06d}.png", compress_level=1)
