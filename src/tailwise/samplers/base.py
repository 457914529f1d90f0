"""What a sampler is: a probability per class, and positions drawn from it for a whole epoch at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from tailwise.core.errors import DataError
from tailwise.core.registry import Slot
from tailwise.core.stats import ClassStats


@dataclass(frozen=True, eq=False)
class ClassPools:
    """Positions of the images of every class, in one array sorted by class.

    Class ``c`` owns ``order[starts[c] : starts[c] + sizes[c]]``. ``order`` has shape ``[N]``; the others ``[C]``.
    """

    order: NDArray[np.int64]
    starts: NDArray[np.int64]
    sizes: NDArray[np.int64]

    @classmethod
    def from_labels(cls, labels: NDArray[np.int64], num_classes: int) -> ClassPools:
        """Sorts the positions by label.

        Args:
            labels: Shape ``[N]``, values in ``[0, num_classes)``.
            num_classes: ``C``.

        Raises:
            DataError: No labels at all, or one out of range.
        """
        labels = np.asarray(labels)
        if labels.ndim != 1 or labels.size == 0 or not np.issubdtype(labels.dtype, np.integer):
            raise DataError(f"labels must be one non-empty list of whole numbers, got {labels.dtype} {labels.shape}")
        if labels.min() < 0 or labels.max() >= num_classes:
            raise DataError(f"labels go from {labels.min()} to {labels.max()}, allowed: 0 to {num_classes - 1}")
        sizes = np.bincount(labels, minlength=num_classes).astype(np.int64)
        order = np.argsort(labels, kind="stable").astype(np.int64)
        return cls(order, np.cumsum(sizes) - sizes, sizes)

    def require(self, wanted: NDArray[np.bool_]) -> None:
        """Refuses to draw from a class without images.

        Args:
            wanted: The classes that can be drawn, shape ``[C]``.

        Raises:
            DataError: Some of them have no images; names the first ten.
        """
        missing = np.flatnonzero(wanted & (self.sizes == 0))
        if missing.size:
            raise DataError(f"{missing.size} of {wanted.size} classes have no images (labels {missing[:10].tolist()})")

    def shuffled(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """:attr:`order` with the images of every class in random order, shape ``[N]``."""
        classes = np.repeat(np.arange(self.sizes.size), self.sizes)
        return self.order[np.lexsort((rng.random(self.order.size), classes))]


class Sampler(Slot, ABC):
    """Base of all samplers. A subclass is a frozen dataclass that gives a probability to every class.

    Drawing is two steps: first the class, then one of its images uniformly. A weight per image would be the same
    only as long as the pool of a class has ``n_c`` images; with added images it is not.
    """

    kind = "samplers"
    #: Whether :meth:`draw_beside` reads which classes are confused, so that a classifier must be trained before.
    needs_confusion: ClassVar[bool] = False

    @abstractmethod
    def class_mass(self, stats: ClassStats, progress: float) -> NDArray[np.float64]:
        """Probability of every class, shape ``[C]``, sum 1.

        Args:
            stats: The class counts.
            progress: Position in the stage, 0 at its start and 1 at its end.
        """

    def epoch_size(self, stats: ClassStats) -> int:
        """How many images one pass of this way of sampling has; here as many as there are training images.

        Nothing depends on it: an epoch has as many steps as its stage says, by default training images over batch,
        whatever the sampler (zhang2021bag's code does the same). It serves those who want another length.
        """
        return stats.num_images

    def draw(
        self, labels: NDArray[np.int64], stats: ClassStats, progress: float, n: int, rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """Positions into ``labels`` of the images to show, class by class mass, then image, both with replacement.

        Args:
            labels: The label of every image that can be drawn, shape ``[N]``.
            stats: The class counts that the probabilities come from.
            progress: Position in the stage, 0 at its start and 1 at its end.
            n: How many to draw, 0 or more.
            rng: The only source of randomness.

        Returns:
            Shape ``[n]``, values in ``[0, N)``.

        Raises:
            DataError: A class that should be drawn has no image in ``labels``, or a label is out of range.
        """
        pools = ClassPools.from_labels(labels, stats.num_classes)
        classes = self.draw_classes(pools, stats, progress, n, rng)
        return pools.order[pools.starts[classes] + rng.integers(0, pools.sizes[classes])]

    def draw_steps(
        self,
        labels: NDArray[np.int64],
        stats: ClassStats,
        progress: float,
        steps: int,
        batch: int,
        rng: np.random.Generator,
    ) -> NDArray[np.int64]:
        """The positions of an epoch step by step; what a plan is made of.

        Here they are those of :meth:`draw` in a row, so that steps know nothing of each other. A sampler that has a
        rule for the images of one step overrides this.

        Args:
            labels: As for :meth:`draw`.
            stats: As for :meth:`draw`.
            progress: As for :meth:`draw`.
            steps: ``S``, 0 or more.
            batch: ``B``, images of a step over all processes.
            rng: The only source of randomness.

        Returns:
            Shape ``[S, B]``, values in ``[0, N)``.

        Raises:
            DataError: As :meth:`draw`.
        """
        return self.draw(labels, stats, progress, steps * batch, rng).reshape(steps, batch)

    def check_batch(self, batch: int) -> None:
        """Refuses a batch that it cannot fill, whatever the data are; by default it can fill any.

        Raises:
            ValueError: Names the batch and the nearest one that works.
        """

    def check(self, stats: ClassStats, batch: int, earlier: Mapping[str, int] | None = None) -> tuple[str, ...]:
        """Refuses classes, a batch or a stage that it cannot draw for; called before anything is trained.

        Args:
            stats: The class counts.
            batch: Images of a step over all processes.
            earlier: The same of the stage's streams before its own, by name; None for a sampler that is used alone.

        Returns:
            What a person should know of it, a sentence each; by default nothing.

        Raises:
            TailwiseError: What was given, what there is, and the nearest choice.
        """
        return ()

    def draw_beside(
        self,
        earlier: Mapping[str, NDArray[np.int64]],
        shape: tuple[int, int],
        labels: NDArray[np.int64],
        stats: ClassStats,
        progress: float,
        rng: np.random.Generator,
        confusing: NDArray[np.int64] | None = None,
    ) -> NDArray[np.int64]:
        """What :meth:`draw_steps` draws, for a sampler that may look at the streams before its own.

        Args:
            earlier: What the stage's streams before this one show, ``[S,B]`` by name.
            shape: Steps and images a step, ``(S, B)``.
            labels: As for :meth:`draw`.
            stats: As for :meth:`draw`.
            progress: As for :meth:`draw`.
            rng: As for :meth:`draw`.
            confusing: For every class the classes that it is confused with, the most confusing first, ``[C,N_f]``;
                computed when the stage began, where :attr:`needs_confusion`.

        Returns:
            Positions into ``labels``, int64 ``[S,B]``.
        """
        return self.draw_steps(labels, stats, progress, *shape, rng)

    def draw_classes(
        self, pools: ClassPools, stats: ClassStats, progress: float, n: int, rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """``n`` independent classes by :meth:`class_mass`, shape ``[n]``.

        Raises:
            DataError: A class that can be drawn has no images.
            ValueError: The mass is not a probability for every class (a mistake in a subclass).
        """
        mass = self.class_mass(stats, progress)
        if mass.shape != (stats.num_classes,) or not (mass >= 0).all() or abs(mass.sum() - 1) > 1e-9:
            raise ValueError(f"{type(self).__name__}.class_mass must be [C] probabilities with sum 1, got {mass}")
        pools.require(mass > 0)
        return rng.choice(stats.num_classes, size=n, p=mass).astype(np.int64)


def cycle(pool: NDArray[np.int64], n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """The first ``n`` items of successive random permutations of the pool.

    Args:
        pool: What to draw from, shape ``[P]``; it may be empty when ``n`` is 0.
        n: How many.
        rng: The only source of randomness.
    """
    rounds = -(-n // max(pool.size, 1))
    return rng.permuted(np.tile(pool, (rounds, 1)), axis=1).reshape(-1)[:n]
