"""Sampling from the tail classes only (chu2020feature, Algorithm 1, line 3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tailwise.core.checks import between
from tailwise.core.errors import TailwiseError
from tailwise.core.registry import register
from tailwise.core.spec import frozen
from tailwise.core.stats import ClassStats
from tailwise.samplers.base import Sampler

#: What is equally likely to be drawn.
By = Literal["class", "image"]


@register("tail_classes", paper="chu2020feature")
@frozen
class TailClasses(Sampler):
    r"""Images of the classes that are left when the head holds the share :math:`h_r` of all images.

    The head are the first :math:`h` classes by size, with the least :math:`h` whose share is at least :math:`h_r`
    (Sec. 5.4). The paper does not say whether a tail class or a tail image is drawn; the default draws the class.

    Args:
        share: :math:`h_r`, above 0 and below 1.
        by: ``class``: every tail class is equally likely; ``image``: every image of one is.

    Raises:
        ValueError: ``share`` is out of range or ``by`` is neither.
    """

    share: float = 0.9
    by: By = "class"

    def __post_init__(self) -> None:
        """Checks both values."""
        check_split(self.share, self.by)

    def check(self, stats: ClassStats, batch: int, earlier: Mapping[str, int] | None = None) -> tuple[str, ...]:
        """Refuses data in which no class is left for the tail."""
        check_tail(stats, self.share)
        return ()

    def class_mass(self, stats: ClassStats, progress: float) -> NDArray[np.float64]:
        """Zero for the head, one value or ``n_c`` for the tail, divided by the sum; the same at every ``progress``.

        Raises:
            TailwiseError: No class is left for the tail.
        """
        check_tail(stats, self.share)
        return mass_of(stats, stats.is_tail(self.share), self.by)


def check_split(share: float, by: str) -> None:
    """Refuses a share that leaves no head or no tail class whatever the data, and an unknown ``by``."""
    between("share (h_r)", share, 0, 1)
    if by not in ("class", "image"):
        raise ValueError(f"by must be class or image, got {by!r}")


def check_tail(stats: ClassStats, share: float) -> None:
    """Refuses a share that all classes together are needed to hold.

    Raises:
        TailwiseError: Names the share and below which one a class would be left.
    """
    if stats.num_head(share) == stats.num_classes:
        most = 1 - stats.prior.min()
        raise TailwiseError(
            f"h_r (share) = {share:g} leaves no tail class: all {stats.num_classes} classes are needed to hold that "
            f"share of the images; at most {most:.4g} leaves one here"
        )


def mass_of(stats: ClassStats, wanted: NDArray[np.bool_], by: By) -> NDArray[np.float64]:
    """Class mass ``[C]`` on the wanted classes, equal or by size."""
    mass = np.where(wanted, stats.counts if by == "image" else 1, 0).astype(np.float64)
    return mass / mass.sum()
