"""A confusion matrix as plain data: rows for up to a thousand classes, its non-zero cells above.

A matrix of 8,142 classes has 66 million cells, of which an evaluation fills at most as many as it has images.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Up to this number of classes a matrix is stored whole.
MOST_CLASSES_WHOLE = 1000


def cells(matrix: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
    """The non-zero cells: true class, predicted class and count, three arrays of one length."""
    true, predicted = np.nonzero(matrix)
    return {"true": true, "predicted": predicted, "count": matrix[true, predicted]}


def from_cells(num_classes: int, true: Any, predicted: Any, count: Any) -> NDArray[np.int64]:
    """The matrix ``[C,C]`` of :func:`cells`."""
    matrix = np.zeros((num_classes, num_classes), dtype=np.int64)
    matrix[np.asarray(true, dtype=np.int64), np.asarray(predicted, dtype=np.int64)] = np.asarray(count)
    return matrix


def matrix_to_plain(matrix: NDArray[np.int64]) -> Any:
    """Lists for JSON: rows, or ``{"true": [...], "predicted": [...], "count": [...]}``."""
    if len(matrix) <= MOST_CLASSES_WHOLE:
        return matrix.tolist()
    return {name: array.tolist() for name, array in cells(matrix).items()}


def matrix_from_plain(plain: Any, num_classes: int) -> NDArray[np.int64]:
    """The matrix ``[C,C]`` of :func:`matrix_to_plain`.

    Raises:
        ValueError: Not a square matrix of that many classes.
    """
    if isinstance(plain, dict):
        return from_cells(num_classes, **plain)
    matrix = np.asarray(plain, dtype=np.int64)
    if matrix.shape != (num_classes, num_classes):
        raise ValueError(
            f"the confusion matrix has shape {list(matrix.shape)}, expected [{num_classes}, {num_classes}]"
        )
    return matrix
