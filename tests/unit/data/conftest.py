"""Image files of every kind that people keep in their folders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tailwise.data import Pool

MakeImage = Callable[..., Path]


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    """A random RGB picture."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def pool_of(root: Path, *names: str) -> Pool:
    """A pool of files, all of class 0."""
    return Pool("files", "train", ("one", "two"), np.zeros(len(names), dtype=np.int64), paths=names, root=root)


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    """``train`` with 3 cats and 2 dogs, ``val`` with one of each, all different."""
    seed = 0
    for split, classes in (("train", {"cat": 3, "dog": 2}), ("val", {"cat": 1, "dog": 1})):
        for name, images in classes.items():
            (tmp_path / split / name).mkdir(parents=True)
            for number in range(images):
                seed += 1
                noise(12, 10, seed).save(tmp_path / split / name / f"{number}.png")
    return tmp_path
