"""A folder of images, and a small run that was trained on it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tailwise.engine.recipe import Data
from tailwise.engine.train import train
from tailwise.recipes.base import replace_stream
from tests.helpers import tiny_recipe


def make_images(
    base: Path, splits: dict[str, tuple[int, ...]], classes: tuple[str, ...] = ("ape", "bee", "cat")
) -> Path:
    """Class folders with noisy images of one colour for each class, of several sizes and kinds."""
    rng = np.random.default_rng(0)
    for split, counts in splits.items():
        for label, (name, count) in enumerate(zip(classes, counts, strict=True)):
            (base / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 160, (10 + number % 7, 14, 3), dtype=np.uint8)
                pixels[:, :, label] += 80
                Image.fromarray(pixels).save(base / split / name / f"{number:02}.{('png', 'jpg')[number % 2]}")
    return base


@pytest.fixture(scope="session")
def run_and_images(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folder of a finished run that was measured on its validation split, and its images."""
    base = tmp_path_factory.mktemp("deliver")
    images = make_images(base / "images", {"train": (16, 8, 4), "val": (9, 8, 7), "test": (5, 5, 5)})
    recipe = replace_stream(tiny_recipe(epochs=2), 0, batch=8)
    data = Data(name="folder", location=str(images), image_size=8, eval_zoom=1.2, eval_split="val")
    return train(dataclasses.replace(recipe, data=data), base / "run"), images
