"""Random under-sampling: large classes are cut down to the smallest one (buda2018systematic)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tailwise.core.checks import at_least
from tailwise.core.registry import register
from tailwise.core.rng import generator
from tailwise.core.spec import frozen
from tailwise.core.stats import ClassStats
from tailwise.samplers.base import ClassPools, Sampler, cycle


@register("under", paper="buda2018systematic")
@frozen
class Under(Sampler):
    r"""Random under-sampling: an epoch uses as many images of every class as the smallest one has.

    These :math:`n_{\min}` images are kept without repetition, and every one of them is shown, in random order, before
    one returns; a pass over them has :math:`C n_{\min}` images. An epoch longer than that shows the same images again.
    Bag of Tricks (zhang2021bag) prints results of this sampler, but neither its code nor the length of its epochs was
    published.

    Args:
        redraw: Keep other images in every epoch. Off: the same ones from the first epoch to the last, as if the data
            set itself had been cut.
        seed: Chooses the images that are always kept, when ``redraw`` is off.

    Raises:
        ValueError: ``seed`` is negative.
    """

    redraw: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        """Checks the range."""
        at_least("seed", self.seed, 0)

    def class_mass(self, stats: ClassStats, progress: float) -> NDArray[np.float64]:
        """``1 / C`` for every class, shape ``[C]``; the same at every ``progress``."""
        return np.full(stats.num_classes, 1 / stats.num_classes)

    def epoch_size(self, stats: ClassStats) -> int:
        """``C n_min``."""
        return stats.num_classes * int(stats.counts.min())

    def draw(
        self, labels: NDArray[np.int64], stats: ClassStats, progress: float, n: int, rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """Positions into ``labels``, shape ``[n]``; see :meth:`tailwise.samplers.base.Sampler.draw`."""
        pools = ClassPools.from_labels(labels, stats.num_classes)
        pools.require(np.ones(stats.num_classes, dtype=np.bool_))
        order = pools.shuffled(rng if self.redraw else generator(self.seed, "under"))
        places = np.arange(int(stats.counts.min()))[None, :] % pools.sizes[:, None]
        return cycle(order[pools.starts[:, None] + places].reshape(-1), n, rng)
