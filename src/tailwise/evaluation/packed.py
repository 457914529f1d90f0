"""An evaluation split cut from an image pack as it is read."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tailwise.data.index import Pool
from tailwise.data.pack import PackedImages
from tailwise.data.pack_ahead import in_order
from tailwise.data.pack_buffers import Buffers, Sent
from tailwise.data.pack_squares import packed_squares
from tailwise.evaluation.evaluate import EvaluationSplit

#: Batches that are cut before they are asked for.
AHEAD = 2


class PackedSplit(EvaluationSplit):
    """This rank's share ``rank::world`` of an evaluation split, cut in threads while the network is busy.

    Args:
        images: The evaluation part of a pack.
        pool: The split.
        positions: int64 ``[M]``, the readable images.
        size: Height and width.
        batch: Images a step.
        workers: Threads.
        device: Where the network is.
        rank: This process.
        world: Number of processes.
        zoom: How much larger than ``size`` the short side is made before the centre is cut out.
    """

    def __init__(
        self,
        images: PackedImages,
        pool: Pool,
        positions: NDArray[np.int64],
        *,
        size: int,
        batch: int,
        workers: int,
        device: torch.device,
        rank: int = 0,
        world: int = 1,
        zoom: float = 1.0,
    ) -> None:
        super().__init__(
            pool, positions, None, size=size, batch=batch, workers=workers, device=device, rank=rank, world=world
        )
        self.packed, self.zoom = images, zoom

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        parts = [self.positions[first : first + self.batch] for first in range(0, len(self.positions), self.batch)]
        if not parts:
            return
        buffers = Buffers((len(parts[0]), 3, self.size, self.size), AHEAD, self.device)

        def cut(number: int) -> Sent:
            return buffers.fill(number, lambda into: self._cut(parts[number], into))

        sent = in_order(cut, range(len(parts)), workers=1, ahead=AHEAD)
        labels = self.labels.split(self.batch)
        for images, label in zip(sent, labels, strict=True):
            yield images.received()[: len(label)], label

    def _cut(self, positions: NDArray[np.int64], into: NDArray[np.uint8]) -> int:
        into = into[: len(positions)]
        packed_squares(self.packed, positions, self.size, zoom=self.zoom, workers=self.workers, out=into)
        return len(positions)
