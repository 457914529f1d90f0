"""Class counts and what follows from them: the only thing a balancing component may know about a data set."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tailwise.core.errors import DataError


class ClassStats:
    """Training images per class.

    Args:
        counts: Shape ``[C]``, whole numbers of at least 1, in label order.

    Raises:
        DataError: Fewer than two classes, or a class without images.
    """

    def __init__(self, counts: Any) -> None:
        array = np.asarray(counts)
        if array.ndim != 1 or array.size < 2:
            raise DataError(f"class counts must be one list of at least two numbers, got shape {array.shape}")
        if not np.issubdtype(array.dtype, np.integer):
            raise DataError(f"class counts must be whole numbers, got {array.dtype}")
        if (array < 1).any():
            empty = np.flatnonzero(array < 1)
            raise DataError(f"{empty.size} of {array.size} classes have no images (labels {empty[:10].tolist()})")
        self._counts = array.astype(np.int64)
        self._counts.setflags(write=False)

    @property
    def counts(self) -> NDArray[np.int64]:
        """Images per class ``n_c``, shape ``[C]``, read-only."""
        return self._counts

    @property
    def num_classes(self) -> int:
        """Number of classes ``C``."""
        return int(self._counts.size)

    @property
    def num_images(self) -> int:
        """Number of training images ``N``."""
        return int(self._counts.sum())

    @cached_property
    def prior(self) -> NDArray[np.float64]:
        """``n_c / N``, shape ``[C]``, float64."""
        return self._counts / self._counts.sum()

    @cached_property
    def rank(self) -> NDArray[np.int64]:
        """0 for the largest class, ``C - 1`` for the smallest; equal counts keep label order. Shape ``[C]``."""
        rank = np.empty(self.num_classes, dtype=np.int64)
        rank[self.by_frequency] = np.arange(self.num_classes)
        return rank

    @cached_property
    def by_frequency(self) -> NDArray[np.int64]:
        """Labels sorted from the largest class to the smallest; equal counts keep label order. Shape ``[C]``."""
        return np.argsort(-self._counts, kind="stable").astype(np.int64)

    @property
    def imbalance_factor(self) -> float:
        """``n_max / n_min``."""
        return float(self._counts.max() / self._counts.min())

    @property
    def gini(self) -> float:
        """Gini coefficient of the class sizes: 0 when all are equal, towards 1 when one class holds everything."""
        ascending = np.sort(self._counts).astype(np.float64)
        size = ascending.size
        return float((2 * np.arange(1, size + 1) - size - 1) @ ascending / (size * ascending.sum()))

    def num_head(self, share: float) -> int:
        """Head classes ``h``: the fewest largest classes that hold this share of the images (chu2020feature, Sec. 5.4).

        Args:
            share: ``h_r``, above 0 and at most 1.
        """
        held = np.cumsum(self._counts[self.by_frequency])
        # A share such as 0.9 is no binary fraction; the last bits of its product must not cost a class.
        return int(np.searchsorted(held, share * held[-1] * (1 - 1e-12)) + 1)

    def is_tail(self, share: float) -> NDArray[np.bool_]:
        """Whether a class is a tail class, which means none of the :meth:`num_head` largest. Shape ``[C]``."""
        return self.rank >= self.num_head(share)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ClassStats) and np.array_equal(self._counts, other._counts)

    def __hash__(self) -> int:
        return hash(self._counts.tobytes())

    def __repr__(self) -> str:
        return f"ClassStats(C={self.num_classes}, N={self.num_images}, imbalance_factor={self.imbalance_factor:.4g})"
