"""The embedded default: scikit-learn's handwritten digits (Alpaydin and Kaynak 1998), no download."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tailwise.core.registry import register
from tailwise.data.index import Pool
from tailwise.data.open import Splits, refuse_unused

#: Images per digit. The rarest digit has 174, which makes both pools exactly balanced.
TRAIN_PER_CLASS, TEST_PER_CLASS = 124, 50


@register("digits", kind="datasets")
def digits(
    *,
    location: Path | None = None,
    root: Path | None = None,
    eval_split: str = "auto",
    eval_list: Path | None = None,
) -> Splits:
    """Real handwritten digits of 8x8 pixels that come with scikit-learn: 10 classes, 124 + 50 images each.

    The last 50 images of each digit are the test split, the first 124 of the others the training pool. The 0..16 grey
    levels are stretched to 0..255.

    Raises:
        DataError: An argument that this data set does not take.
    """
    refuse_unused("digits", {"location": location, "root": root, "eval_split": eval_split, "eval_list": eval_list})
    from sklearn.datasets import load_digits

    bunch: Any = load_digits()
    labels = np.asarray(bunch["target"], dtype=np.int64)
    images = np.rint(np.asarray(bunch["images"]) * (255 / 16)).astype(np.uint8)
    of_class = [np.flatnonzero(labels == label) for label in range(10)]
    train = np.sort(np.concatenate([positions[:-TEST_PER_CLASS][:TRAIN_PER_CLASS] for positions in of_class]))
    test = np.sort(np.concatenate([positions[-TEST_PER_CLASS:] for positions in of_class]))
    names = tuple(str(label) for label in range(10))
    return Splits(
        Pool("digits", "train", names, labels[train], array=images[train]),
        Pool("digits", "test", names, labels[test], array=images[test]),
    )
