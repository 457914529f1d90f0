"""Sampling from the head classes only (chu2020feature, Algorithm 1, line 20)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from tailwise.core.registry import register
from tailwise.core.spec import frozen
from tailwise.core.stats import ClassStats
from tailwise.samplers.base import Sampler
from tailwise.samplers.tail_classes import By, check_split, check_tail, mass_of


@register("head_classes", paper="chu2020feature")
@frozen
class HeadClasses(Sampler):
    r"""Images of the largest classes that together hold the share :math:`h_r` of all images.

    The complement of :class:`~tailwise.samplers.tail_classes.TailClasses`. The paper says "randomly drawn"; the default
    draws every image of the head equally often, so that the imbalance within the head stays.

    Args:
        share: :math:`h_r`, above 0 and below 1.
        by: ``image``: every image of a head class is equally likely; ``class``: every head class is.

    Raises:
        ValueError: ``share`` is out of range or ``by`` is neither.
    """

    share: float = 0.9
    by: By = "image"

    def __post_init__(self) -> None:
        """Checks both values."""
        check_split(self.share, self.by)

    def check(self, stats: ClassStats, batch: int, earlier: Mapping[str, int] | None = None) -> tuple[str, ...]:
        """Refuses data in which the head is everything."""
        check_tail(stats, self.share)
        return ()

    def class_mass(self, stats: ClassStats, progress: float) -> NDArray[np.float64]:
        """Zero for the tail, ``n_c`` or one value for the head, divided by the sum; the same at every ``progress``."""
        return mass_of(stats, ~stats.is_tail(self.share), self.by)
