"""Training without random resized crops from a pack whose pixels stay on disk."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tailwise.core.types import Batch
from tailwise.data.pack import PackedImages
from tailwise.data.pack_ahead import in_order
from tailwise.data.pack_buffers import Buffers, Sent
from tailwise.data.pack_squares import packed_squares
from tailwise.data.plan import EpochPlan
from tailwise.data.source import DeviceDraws


class SquareHostSource:
    """Squares cut from packed images in threads and sent to the device ahead of their use.

    Args:
        images: Of the training pool.
        positions: int64 ``[N]``, the training index's positions in the pool.
        labels: int64 ``[N]``.
        size: Height and width of the images handed out.
        workers: Threads, and batches that are prepared ahead (at least two). The batches do not depend on it.
        device: Where the batches go.
    """

    def __init__(
        self,
        images: PackedImages,
        positions: NDArray[np.int64],
        labels: NDArray[np.int64],
        *,
        size: int,
        workers: int,
        device: torch.device,
    ) -> None:
        self.images, self.positions, self.labels = images, positions, labels
        self.size, self.workers, self.device = size, max(1, workers), device

    def batches(self, plan: EpochPlan, start: int = 0) -> Iterator[Batch]:
        """The batches of a plan from step ``start`` on."""
        draws = DeviceDraws(plan, self.labels, self.device)
        index = np.concatenate([part.index for part in plan.streams.values()], axis=1)
        ahead = max(2, self.workers)
        buffers = Buffers((index.shape[1], 3, self.size, self.size), ahead, self.device)

        def fill(step: int) -> Sent:
            positions = self.positions[index[step]]
            return buffers.fill(
                step, lambda into: len(packed_squares(self.images, positions, self.size, workers=1, out=into))
            )

        steps = range(start, plan.steps)
        for step, sent in zip(steps, in_order(fill, steps, workers=self.workers, ahead=ahead), strict=True):
            images, by_stream, first = sent.received(), dict[str, Tensor](), 0
            for name, part in plan.streams.items():
                by_stream[name] = images[first : first + part.index.shape[1]]
                first += part.index.shape[1]
            yield draws.batch(step, by_stream)
