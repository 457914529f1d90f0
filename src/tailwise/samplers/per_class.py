"""Some classes a step, a few images of each, neither of them twice (zhang2019balance, Algorithm 1, lines 2 to 7)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from tailwise.core.checks import at_least
from tailwise.core.errors import TailwiseError
from tailwise.core.registry import register
from tailwise.core.spec import frozen
from tailwise.core.stats import ClassStats
from tailwise.samplers.base import ClassPools, Sampler

#: What the paper draws of a class.
USUAL = 4


@register("per_class", paper="zhang2019balance")
@frozen
class PerClass(Sampler):
    r"""Class-balanced sampling by the step: a batch of :math:`S` has :math:`S / Z` different classes.

    The classes of a step are drawn without replacement, and so are the :math:`Z` images of a class within the step.
    Every step is drawn anew. Deviation from the paper, which does not treat the case: a class with fewer than
    :math:`Z` images is drawn from with replacement, which a note says when a run begins.

    Where the length of a step is not known (:meth:`draw`), the classes go round in random order, :math:`Z` images of
    each in a row; give :class:`~tailwise.samplers.torch_sampler.EpochSampler` its ``batch_size``.

    Args:
        images_per_class: :math:`Z`, 4 in the paper. None: the least divisor of the batch, from 4 up, for which there
            are enough classes.

    Raises:
        ValueError: ``images_per_class`` is below 1.
    """

    images_per_class: int | None = USUAL

    def __post_init__(self) -> None:
        """Checks the number."""
        if self.images_per_class is not None:
            at_least("images_per_class", self.images_per_class, 1)

    def class_mass(self, stats: ClassStats, progress: float) -> NDArray[np.float64]:
        """``1 / C`` for every class, shape ``[C]``; the same at every ``progress``."""
        return np.full(stats.num_classes, 1 / stats.num_classes)

    def size(self, batch: int, num_classes: int) -> int:
        """Images of each class ``Z`` in a step of so many images."""
        if self.images_per_class is not None:
            return self.images_per_class
        enough = range(min(USUAL, batch), batch + 1)
        return next(size for size in enough if batch % size == 0 and batch // size <= num_classes)

    def check_batch(self, batch: int) -> None:
        """Refuses a batch that ``Z`` does not divide.

        Raises:
            ValueError: Names both and the nearest batches that it divides.
        """
        size = self.images_per_class or 1
        if batch % size:
            below = batch - batch % size
            near = " or ".join(str(value) for value in (below, below + size) if value)
            raise ValueError(
                f"per_class cannot divide a batch of {batch} into {size} images of each class; the nearest batch that "
                f"works is {near}"
            )

    def check(self, stats: ClassStats, batch: int, earlier: Mapping[str, int] | None = None) -> tuple[str, ...]:
        """Refuses a batch that these classes cannot fill; notes which of them are drawn from with replacement.

        Raises:
            TailwiseError: Fewer classes than a step shows, or not one with ``Z`` images.
        """
        self.check_batch(batch)
        size, largest = self.size(batch, stats.num_classes), int(stats.counts.max())
        if batch // size > stats.num_classes:
            least = next(d for d in range(size, batch + 1) if batch % d == 0 and batch // d <= stats.num_classes)
            raise TailwiseError(
                f"per_class shows {batch // size} different classes in a batch of {batch} with {size} images of each, "
                f"and there are {stats.num_classes} classes; use a batch of {stats.num_classes * size} or less, or "
                f"images_per_class={least} or none"
            )
        if self.images_per_class is not None and size > largest:
            raise TailwiseError(
                f"per_class draws {size} different images of each class, and the largest class has {largest}; "
                f"use images_per_class={largest} or less"
            )
        small = np.flatnonzero(stats.counts < size)
        if not small.size:
            return ()
        named = ", ".join(map(str, small[:10].tolist())) + (", ..." if small.size > 10 else "")
        return (
            f"per_class: {small.size} of {stats.num_classes} classes have fewer than {size} images (labels {named}) "
            "and are drawn from with replacement",
        )

    def draw(
        self, labels: NDArray[np.int64], stats: ClassStats, progress: float, n: int, rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """Positions into ``labels``, shape ``[n]``; see :meth:`tailwise.samplers.base.Sampler.draw`."""
        pools = self._pools(labels, stats)
        size = self.images_per_class or USUAL
        rounds = -(-n // (stats.num_classes * size))
        classes = rng.permuted(np.tile(np.arange(stats.num_classes), (rounds, 1)), axis=1).reshape(-1)
        return _images(pools, classes[: -(-n // size)], size, rng).reshape(-1)[:n]

    def draw_steps(
        self,
        labels: NDArray[np.int64],
        stats: ClassStats,
        progress: float,
        steps: int,
        batch: int,
        rng: np.random.Generator,
    ) -> NDArray[np.int64]:
        """Positions into ``labels``, shape ``[S,B]``; see :meth:`tailwise.samplers.base.Sampler.draw_steps`.

        Raises:
            TailwiseError: As :meth:`check`.
        """
        pools = self._pools(labels, stats)
        self.check(stats, batch)
        size = self.size(batch, stats.num_classes)
        classes = [rng.choice(stats.num_classes, batch // size, replace=False) for _ in range(steps)]
        return _images(pools, np.concatenate([np.empty(0, np.int64), *classes]), size, rng).reshape(steps, batch)

    def _pools(self, labels: NDArray[np.int64], stats: ClassStats) -> ClassPools:
        pools = ClassPools.from_labels(labels, stats.num_classes)
        pools.require(np.ones(stats.num_classes, dtype=np.bool_))
        return pools


def _images(pools: ClassPools, classes: NDArray[np.int64], size: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """``size`` different images of each of the classes ``[M]``, with replacement from smaller ones: ``[M, size]``.

    Floyd's algorithm: the draw of turn i is below ``n - size + i + 1``, and a repeated one becomes the largest of
    these, which no turn before could draw. So every subset is as likely.
    """
    sizes = pools.sizes[classes]
    small = sizes < size
    chosen = np.empty((classes.size, size), dtype=np.int64)
    for turn in range(size):
        bound = np.where(small, sizes, sizes - size + turn + 1)
        drawn = rng.integers(0, bound)
        seen = ~small & (chosen[:, :turn] == drawn[:, None]).any(axis=1)
        chosen[:, turn] = np.where(seen, bound - 1, drawn)
    return pools.order[pools.starts[classes][:, None] + chosen]
