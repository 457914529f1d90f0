"""Sampling by a power of the class counts, from instance-balanced to class-balanced (kang2020decoupling, Eq. 1)."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tailwise.core.registry import register
from tailwise.core.spec import frozen
from tailwise.core.stats import ClassStats
from tailwise.samplers.base import ClassPools, Sampler, cycle


@register(
    "power",
    paper="kang2020decoupling",
    presets={
        "instance_balanced": {"q": 1.0},
        "square_root": {"q": 0.5},
        "class_balanced": {"q": 0.0},
        "reversed": {"q": -1.0},
    },
)
@frozen
class Power(Sampler):
    r"""Class probabilities :math:`p_c = n_c^q / \sum_j n_j^q` (Eq. 1).

    ``q`` = 1 is instance-balanced, 1/2 square-root and 0 class-balanced sampling; below 0 the tail is drawn more often
    than the head, and -1 is the reversed sampler of zhou2020bbn, whose class weights are ``n_max / n_c``. The ways to
    draw within a class:

    - ``replacement``: every draw is independent of the others (zhang2021bag).
    - ``cycle``: a class shows all of its images in random order before one of them returns. The paper's own code
      carries the order over from epoch to epoch; here every epoch begins a new one.
    - ``auto``: ``replacement``, except that ``q`` = 1 shows the whole set in random order before an image returns,
      which is the shuffling that every cross-entropy baseline uses.

    Args:
        q: The power.
        within: How images are drawn.

    Raises:
        ValueError: ``q`` is not finite or ``within`` is not one of the three.
    """

    q: float = 1.0
    within: Literal["auto", "replacement", "cycle"] = "auto"

    def __post_init__(self) -> None:
        """Checks both values."""
        if not math.isfinite(self.q):
            raise ValueError(f"q must be finite, got {self.q}")
        if self.within not in ("auto", "replacement", "cycle"):
            raise ValueError(f"within must be auto, replacement or cycle, got {self.within!r}")

    def class_mass(self, stats: ClassStats, progress: float) -> NDArray[np.float64]:
        """``n_c^q`` divided by its sum, shape ``[C]``; the same at every ``progress``."""
        log_mass = self.q * np.log(stats.counts.astype(np.float64))
        mass = np.exp(log_mass - log_mass.max())
        return mass / mass.sum()

    def draw(
        self, labels: NDArray[np.int64], stats: ClassStats, progress: float, n: int, rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """Positions into ``labels``, shape ``[n]``; see :meth:`tailwise.samplers.base.Sampler.draw`."""
        if self.within == "replacement" or (self.within == "auto" and self.q != 1.0):
            return super().draw(labels, stats, progress, n, rng)
        pools = ClassPools.from_labels(labels, stats.num_classes)
        if self.within == "auto":
            return cycle(np.arange(pools.order.size), n, rng)
        classes = self.draw_classes(pools, stats, progress, n, rng)
        positions = np.empty(n, dtype=np.int64)
        slots = np.argsort(classes, kind="stable")
        bounds = np.cumsum(np.bincount(classes, minlength=stats.num_classes))
        for start, size, of_class in zip(pools.starts, pools.sizes, np.split(slots, bounds[:-1]), strict=True):
            positions[of_class] = cycle(pools.order[start : start + size], of_class.size, rng)
        return positions
