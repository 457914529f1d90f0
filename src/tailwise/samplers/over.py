"""Random over-sampling: small classes are repeated up to the largest one (buda2018systematic)."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tailwise.core.registry import register
from tailwise.core.spec import frozen
from tailwise.core.stats import ClassStats
from tailwise.samplers.base import ClassPools, Sampler


@register("over", paper="buda2018systematic", presets={"over_even": {"copies": "even"}})
@frozen
class Over(Sampler):
    r"""Random over-sampling: the images of small classes are repeated up to the size of the largest class.

    One pass has :math:`n_{\max}` images of every class, :math:`C n_{\max}` in all. It shows every image at least once,
    the small classes again and again, in random order. Draws go through pass after pass, and every epoch begins a new
    one. Bag of Tricks (zhang2021bag) prints results of this sampler, but neither its code nor the length of its epochs
    was published.

    Args:
        copies: Which images of a small class fill its places. ``random``: every image once, the other places drawn
            with replacement, as printed. ``even``: all images equally often, up to one.

    Raises:
        ValueError: ``copies`` is neither.
    """

    copies: Literal["random", "even"] = "random"

    def __post_init__(self) -> None:
        """Checks the choice."""
        if self.copies not in ("random", "even"):
            raise ValueError(f"copies must be random or even, got {self.copies!r}")

    def class_mass(self, stats: ClassStats, progress: float) -> NDArray[np.float64]:
        """``1 / C`` for every class, shape ``[C]``; the same at every ``progress``."""
        return np.full(stats.num_classes, 1 / stats.num_classes)

    def epoch_size(self, stats: ClassStats) -> int:
        """``C n_max``."""
        return stats.num_classes * int(stats.counts.max())

    def draw(
        self, labels: NDArray[np.int64], stats: ClassStats, progress: float, n: int, rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """Positions into ``labels``, shape ``[n]``; see :meth:`tailwise.samplers.base.Sampler.draw`."""
        pools = ClassPools.from_labels(labels, stats.num_classes)
        pools.require(np.ones(stats.num_classes, dtype=np.bool_))
        rounds = -(-n // self.epoch_size(stats))
        passes = [rng.permuted(self._one_pass(pools, int(stats.counts.max()), rng)) for _ in range(rounds)]
        return np.concatenate([np.empty(0, dtype=np.int64), *passes])[:n]

    def _one_pass(self, pools: ClassPools, largest: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """``largest`` positions of every class, shape ``[C * largest]``."""
        sizes, places = pools.sizes[:, None], np.arange(largest)[None, :]
        shape = (pools.sizes.size, largest)
        again = places % sizes if self.copies == "even" else rng.integers(0, sizes, shape)
        return pools.shuffled(rng)[pools.starts[:, None] + np.where(places < sizes, places, again)].reshape(-1)
