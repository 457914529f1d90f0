"""Sampling from the classes that another stream's images are confused with (chu2020feature, Sec. 4.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from tailwise.core.checks import at_least
from tailwise.core.errors import TailwiseError, UnknownName
from tailwise.core.registry import register
from tailwise.core.spec import frozen
from tailwise.core.stats import ClassStats
from tailwise.samplers.base import ClassPools, Sampler


@register("confusing_classes", paper="chu2020feature")
@frozen
class ConfusingClasses(Sampler):
    r"""For every image of another stream, :math:`N_a` images of the :math:`N_f` classes most confused with its class.

    :math:`N_a` is this stream's batch over that of the other stream. An image's confusing classes come in random order,
    each once before one returns: with :math:`N_a = N_f` one image of each, as Algorithm 1 has it. Which classes are
    confused is computed when the stage begins (:mod:`tailwise.precompute.confusion`). Places ``i``, ``N_t + i``,
    ``2 N_t + i``, ... of a step belong to place ``i`` of the other stream with its ``N_t`` images.

    Without a classifier (:meth:`draw`) nothing is known of confusion, and every class is equally likely.

    Args:
        num_classes: :math:`N_f`, at least 1.
        beside: The other stream, an earlier one of the stage.

    Raises:
        ValueError: ``num_classes`` is below 1.
    """

    needs_confusion: ClassVar[bool] = True

    num_classes: int = 3
    beside: str = "tail"

    def __post_init__(self) -> None:
        """Checks the number of classes."""
        at_least("num_classes (N_f)", self.num_classes, 1)

    def check(self, stats: ClassStats, batch: int, earlier: Mapping[str, int] | None = None) -> tuple[str, ...]:
        """Refuses more classes than there are others, an unknown stream, and a batch that does not fit it.

        Raises:
            UnknownName: No stream of that name comes before.
            TailwiseError: Names the numbers and what is allowed.
        """
        others = stats.num_classes - 1
        if self.num_classes > others:
            raise TailwiseError(
                f"N_f (num_classes) = {self.num_classes} confusing classes, but a class has {others} other "
                f"class{'es' * (others > 1)} here; at most {others}"
            )
        if earlier is None:
            return ()
        if self.beside not in earlier:
            raise UnknownName("earlier stream of the stage", self.beside, list(earlier))
        if batch % earlier[self.beside]:
            size = earlier[self.beside]
            near = max(size, round(batch / size) * size)
            raise TailwiseError(
                f"a stream of confusing classes needs a multiple of the {size} images of stream {self.beside!r}, got "
                f"{batch}; the nearest that works is {near}"
            )
        return ()

    def class_mass(self, stats: ClassStats, progress: float) -> NDArray[np.float64]:
        """Every class equally: what is known without a classifier. Shape ``[C]``."""
        return np.full(stats.num_classes, 1 / stats.num_classes)

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
        """Positions ``[S,B]``; see :meth:`tailwise.samplers.base.Sampler.draw_beside`.

        Raises:
            ValueError: ``confusing`` is missing or has too few classes (a mistake of the caller).
        """
        if confusing is None or confusing.shape[1] < self.num_classes:
            raise ValueError(f"needs {self.num_classes} confusing classes of every class, got {confusing}")
        steps, batch = shape
        of = labels[earlier[self.beside]]
        each, found = batch // of.shape[1], self.num_classes
        rounds = -(-each // found)
        ranks = rng.permuted(np.tile(np.arange(found), (*of.shape, rounds, 1)), axis=-1)
        ranks = ranks.reshape(*of.shape, rounds * found)[..., :each]
        classes = confusing[of[..., None], ranks]
        # The images that belong to place i stand at i, N_t + i, 2 N_t + i: so does the share of a process.
        classes = classes.transpose(0, 2, 1).reshape(steps, batch)
        pools = ClassPools.from_labels(labels, stats.num_classes)
        return pools.order[pools.starts[classes] + rng.integers(0, pools.sizes[classes])]
