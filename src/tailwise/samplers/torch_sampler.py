"""Any sampler of this library for a ``torch.utils.data.DataLoader`` in anybody's training loop."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch.utils.data import Sampler as TorchSampler

from tailwise.core.errors import DataError, RunError
from tailwise.core.rng import generator
from tailwise.core.stats import ClassStats
from tailwise.samplers.base import Sampler


class EpochSampler(TorchSampler[int]):
    """The positions of one epoch, drawn once from the seed and the epoch number, in disjoint slices per process.

    Every process draws the same plan and takes every ``world``-th position of it, so that the processes together show
    the plan exactly once whatever their number.

    Args:
        sampler: What to draw with, for example ``Power(q=0.0)``.
        labels: The label of every image of the data set, shape ``[N]``; every class from 0 to the largest must occur.
        seed: The seed of all epochs, 0 or more.
        num_samples: Length of an epoch over all processes, a multiple of ``world``. Default: ``N`` without what is
            left over when it is divided among the processes.
        rank: The number of this process, from 0.
        world: The number of processes.

    Raises:
        DataError: The labels are not one list of whole numbers with at least one image of every class.
        RunError: ``rank``, ``world`` or ``num_samples`` do not fit together.
    """

    def __init__(
        self, sampler: Sampler, labels: Any, *, seed: int, num_samples: int | None = None, rank: int = 0, world: int = 1
    ) -> None:
        super().__init__()
        array = np.asarray(labels)
        if array.ndim != 1 or array.size == 0 or not np.issubdtype(array.dtype, np.integer) or array.min() < 0:
            raise DataError(f"labels must be one list of whole numbers of at least 0, got {array.dtype} {array.shape}")
        if world < 1 or not 0 <= rank < world:
            raise RunError(f"rank must be at least 0 and below the number of processes, got {rank} of {world}")
        total = array.size - array.size % world if num_samples is None else num_samples
        if total < 1 or total % world:
            near = max(world, total - total % world)
            raise RunError(
                f"num_samples must be a positive multiple of the {world} processes, or one would wait for the others; "
                f"got {total}; did you mean {near}?"
            )
        self.sampler = sampler
        self.seed = seed
        self.num_samples = total
        self.rank = rank
        self.world = world
        self._labels = array.astype(np.int64)
        self._stats = ClassStats(np.bincount(self._labels))
        self._epoch = 0
        self._progress = 0.0

    def set_epoch(self, epoch: int, progress: float | None = None) -> None:
        """Chooses which epoch the next iteration shows.

        Args:
            epoch: Its number, 0 or more; 0 until this is called.
            progress: Position in the training, 0 at its start and 1 at its end, for samplers that change over time.
                Default: 0.

        Raises:
            RunError: A negative epoch or a progress outside [0, 1].
        """
        if epoch < 0 or not 0.0 <= (progress or 0.0) <= 1.0:
            raise RunError(f"epoch must be at least 0 and progress in [0, 1], got {epoch} and {progress}")
        self._epoch = epoch
        self._progress = progress or 0.0

    def __len__(self) -> int:
        """How many positions this process gets per epoch."""
        return self.num_samples // self.world

    def __iter__(self) -> Iterator[int]:
        """This process's positions of the chosen epoch."""
        rng = generator(self.seed, self._epoch, "sampler")
        plan = self.sampler.draw(self._labels, self._stats, self._progress, self.num_samples, rng)
        return iter(plan[self.rank :: self.world].tolist())
