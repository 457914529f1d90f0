"""Any sampler of this library for a ``torch.utils.data.DataLoader`` in anybody's training loop."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import distributed
from torch.utils.data import Sampler as TorchSampler

from tailwise.core.errors import DataError, RunError
from tailwise.core.rng import generator
from tailwise.core.stats import ClassStats
from tailwise.samplers.base import Sampler


class EpochSampler(TorchSampler[int]):
    """The positions of one epoch, drawn once from the seed and the epoch number, in disjoint shares per process.

    Every process draws the same plan of ``num_samples`` positions and takes ``plan[rank::world]``. So the processes
    together show the plan exactly once. With a loader of batch size ``b`` in every process, the ``k``-th batches of
    all processes are together ``plan[k * b * world : (k + 1) * b * world]``: the ``k``-th batch that one process with
    batch size ``b * world`` would see, whatever the number of processes.

    Args:
        sampler: What to draw with, for example ``Power(q=0.0)``.
        labels: The label of every image of the data set, shape ``[N]``; every class from 0 to the largest must occur.
        seed: The seed of all epochs, 0 or more.
        num_samples: Length of an epoch over all processes, a multiple of ``world``. Default: ``N`` without what is
            left over when it is divided among the processes.
        rank: The number of this process, from 0. Default: that of ``torch.distributed``, or 0 without a process group.
        world: The number of processes. Default: that of ``torch.distributed``, or 1 without a process group.
        batch_size: Images of a step over all processes, for samplers that have a rule for each step (``PerClass``);
            the others need no such number. The last step of an epoch may be shorter.

    Raises:
        DataError: The labels are not one list of whole numbers with at least one image of every class.
        TailwiseError: The sampler cannot fill such a batch.
        RunError: ``batch_size`` is not a positive multiple of the processes; ``rank``, ``world`` or ``num_samples`` do
            not fit together, or only one of the first two is given.
    """

    def __init__(
        self,
        sampler: Sampler,
        labels: Any,
        *,
        seed: int,
        num_samples: int | None = None,
        rank: int | None = None,
        world: int | None = None,
        batch_size: int | None = None,
    ) -> None:
        super().__init__()
        array = np.asarray(labels)
        if array.ndim != 1 or array.size == 0 or not np.issubdtype(array.dtype, np.integer) or array.min() < 0:
            raise DataError(f"labels must be one list of whole numbers of at least 0, got {array.dtype} {array.shape}")
        if (rank is None) != (world is None):
            raise RunError(f"give both rank and world, or neither; got rank {rank} and world {world}")
        self._given_place = rank is not None
        found_rank, found_world = (rank, world) if rank is not None and world is not None else _group()
        if found_world < 1 or not 0 <= found_rank < found_world:
            raise RunError(
                f"rank must be at least 0 and below the number of processes, got {found_rank} of {found_world}"
            )
        total = array.size - array.size % found_world if num_samples is None else num_samples
        if total < 1 or total % found_world:
            near = max(found_world, total - total % found_world)
            raise RunError(
                f"num_samples must be a positive multiple of the {found_world} processes, or one would wait for the "
                f"others; got {total}; did you mean {near}?"
            )
        self.sampler = sampler
        self.seed = seed
        self.num_samples = total
        self.rank = found_rank
        self.world = found_world
        self._labels = array.astype(np.int64)
        self._stats = ClassStats(np.bincount(self._labels))
        if batch_size is not None:
            if batch_size < 1 or batch_size % found_world:
                raise RunError(
                    f"batch_size must be a positive multiple of the {found_world} processes, got {batch_size}; "
                    f"did you mean {max(found_world, batch_size - batch_size % found_world)}?"
                )
            sampler.check(self._stats, batch_size)
        self.batch_size = batch_size
        self._epoch, self._progress = 0, 0.0
        self._start = self._done = 0

    def set_epoch(self, epoch: int, progress: float | None = None, *, start: int | None = None) -> None:
        """Chooses which epoch the next iteration shows; until this is called, it is epoch 0 again and again.

        Args:
            epoch: Its number, 0 or more.
            progress: Position in the training, 0 at its start and 1 at its end, for samplers that change over time.
                Default: 0.
            start: How many positions this process has used of that epoch (batches times batch size). The next
                iteration leaves them out without reading an image; later ones begin at the start again. Default: 0,
                or what :meth:`load_state_dict` has brought for this very epoch.

        Raises:
            RunError: A negative epoch, a progress outside [0, 1] or a start outside this process's share.
        """
        if epoch < 0 or not 0.0 <= (progress or 0.0) <= 1.0:
            raise RunError(f"epoch must be at least 0 and progress in [0, 1], got {epoch} and {progress}")
        if start is None:
            start = self._start if epoch == self._epoch else 0
        if not 0 <= start <= len(self):
            raise RunError(f"start must be from 0 to the {len(self)} positions of this process, got {start}")
        self._epoch, self._progress = epoch, progress or 0.0
        self._start = self._done = start

    def state_dict(self) -> dict[str, Any]:
        """The epoch and how much of it all processes together have been given, for a resume in mid-epoch.

        A ``StatefulDataLoader`` of torchdata calls this and knows which batches are still under way. The workers of a
        plain ``DataLoader`` fetch ahead of the training loop; with them, count batches and use ``set_epoch``.
        """
        return {
            "seed": self.seed,
            "num_samples": self.num_samples,
            "epoch": self._epoch,
            "progress": self._progress,
            "position": self._done * self.world,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from :meth:`state_dict`, also with another number of processes.

        Raises:
            RunError: The state is of another seed or length, or the processes cannot share what is left evenly.
        """
        for name in ("seed", "num_samples"):
            if state[name] != getattr(self, name):
                raise RunError(f"the state is of a sampler with {name} {state[name]}, not {getattr(self, name)}")
        if state["position"] % self.world:
            raise RunError(
                f"{state['position']} positions have been used, which {self.world} processes cannot have shared evenly"
            )
        self.set_epoch(state["epoch"], state["progress"], start=state["position"] // self.world)

    def plan(self) -> NDArray[np.int64]:
        """The positions of the chosen epoch over all processes, shape ``[num_samples]``."""
        rng = generator(self.seed, self._epoch, "sampler")
        if self.batch_size is None:
            return self.sampler.draw(self._labels, self._stats, self._progress, self.num_samples, rng)
        steps = -(-self.num_samples // self.batch_size)
        rows = self.sampler.draw_steps(self._labels, self._stats, self._progress, steps, self.batch_size, rng)
        return rows.reshape(-1)[: self.num_samples]

    def __len__(self) -> int:
        """How many positions this process gets in a whole epoch."""
        return self.num_samples // self.world

    def __iter__(self) -> Iterator[int]:
        """This process's positions of the chosen epoch.

        Raises:
            RunError: A process group of another size came into being after the sampler.
        """
        if not self._given_place and _group() != (self.rank, self.world):
            raise RunError(
                f"this sampler was made for process {self.rank} of {self.world}, but torch.distributed says "
                f"{_group()[0]} of {_group()[1]}; make it after init_process_group, or give rank and world"
            )
        start, self._start = self._start, 0
        self._done = start
        return self._give(self.plan()[self.rank :: self.world][start:])

    def _give(self, share: NDArray[np.int64]) -> Iterator[int]:
        for position in share.tolist():
            self._done += 1
            yield position


def _group() -> tuple[int, int]:
    """Number of this process and of all, as torch.distributed knows them."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1
