"""Logits, probabilities, labels and priors as checked float64 and int64 arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tailwise.core.errors import DataError

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

#: How far the sum of a row of probabilities, or of a prior, may be from 1: float16 and rounded text stay within it.
SLACK = 1e-2


def as_logits(values: Any, what: str = "logits") -> Floats:
    """Float64 ``[N, C]`` with at least one row and two classes.

    Raises:
        DataError: Another shape, or a value that is not finite.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or array.shape[0] < 1 or array.shape[1] < 2:
        raise DataError(
            f"{what} must be [images, classes] with at least 1 image and 2 classes, got {list(array.shape)}"
        )
    bad = ~np.isfinite(array).all(axis=1)
    if bad.any():
        raise DataError(f"{what} must be finite, and {int(bad.sum())} rows are not (first: row {int(np.argmax(bad))})")
    return array


def as_probabilities(values: Any) -> Floats:
    """Float64 ``[N, C]``, rows rescaled to sum 1 exactly.

    Raises:
        DataError: Another shape, a negative value, or a row whose sum is not 1.
    """
    array = as_logits(values, "probabilities")
    total = array.sum(axis=1)
    if (array < 0).any() or (np.abs(total - 1) > SLACK).any():
        worst = int(np.argmax(np.where((array < 0).any(axis=1), np.inf, np.abs(total - 1))))
        raise DataError(
            f"probabilities must be at least 0 with sum 1 in each row; row {worst} has minimum "
            f"{array[worst].min():.4g} and sum {total[worst]:.4g}. For logits, call softmax first"
        )
    return array / total[:, None]


def as_labels(values: Any, num_images: int, num_classes: int) -> Labels:
    """int64 ``[N]`` from 0 to C - 1.

    Raises:
        DataError: Not whole numbers, another length, or a label out of range.
    """
    array = np.asarray(values)
    if not np.issubdtype(array.dtype, np.integer):
        raise DataError(f"labels must be whole numbers, got {array.dtype}")
    if array.shape != (num_images,):
        raise DataError(f"{num_images} rows of logits need {num_images} labels, got shape {list(array.shape)}")
    if not 0 <= array.min() <= array.max() < num_classes:
        raise DataError(f"labels must be 0 to {num_classes - 1}, got {array.min()} to {array.max()}")
    return array.astype(np.int64)


def as_prior(values: Any, num_classes: int, what: str = "prior") -> Floats:
    """A prior ``[C]`` of positive shares with sum 1; class counts are accepted and divided by their sum.

    Raises:
        DataError: Another length, or a share that is not a positive number.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.shape != (num_classes,):
        raise DataError(f"{what} must have one share for each of {num_classes} classes, got shape {list(array.shape)}")
    bad = ~(np.isfinite(array) & (array > 0))
    if bad.any():
        at = int(np.argmax(bad))
        raise DataError(f"{what} must be positive for every class, got {array[at]:.4g} for class {at}")
    return array / array.sum()


def as_weights(labels: Labels, prior: Any, num_classes: int) -> Floats:
    """A weight for every image ``[N]``, sum 1, under which the labels have the class frequencies of ``prior``.

    Each of the ``n_c`` images of class ``c`` weighs ``prior_c / n_c``. Classes without an image cannot be weighted: the
    prior is restricted to the others. ``None`` weighs every image alike.
    """
    counts = np.bincount(labels, minlength=num_classes)
    if prior is None:
        return np.full(labels.size, 1 / labels.size)
    share = np.where(counts > 0, as_prior(prior, num_classes), 0.0)
    return (share / share.sum() / np.maximum(counts, 1))[labels]
