"""Training from a pack whose pixels stay on disk: those of each batch are sent to the device ahead of their use.

The batches lead to the same pixels as those of :mod:`tailwise.data.pack_resident`, bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from tailwise.augment.crop_resize import pixel_centres
from tailwise.core.types import Batch
from tailwise.data.pack import PackedImages
from tailwise.data.pack_ahead import in_order
from tailwise.data.pack_buffers import Buffers, Sent
from tailwise.data.plan import EpochPlan, StreamPlan
from tailwise.data.source import DeviceDraws


class PackedHostSource:
    """Packed training images read batch by batch in threads and sent to the device ahead of their use.

    Of each image only the rows of its box are read and sent, unless a generated image needs all of it. The buffer of a
    batch has the same size in every step of an epoch. On a CUDA device it is filled in pinned memory and copied on a
    stream of its own while the network computes.

    Args:
        images: Of the training pool.
        positions: int64 ``[N]``, the training index's positions in the pool.
        labels: int64 ``[N]``.
        size: Height and width of the images that the network sees.
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
        self.images, self.positions, self.labels, self.device = images, positions, labels, device
        self.workers = max(1, workers)
        self.sizes = images.sizes[positions]
        self.height, self.width = (torch.from_numpy(self.sizes[:, side].copy()).to(device) for side in (0, 1))
        self.grid = pixel_centres(size, device)

    def batches(self, plan: EpochPlan, start: int = 0) -> Iterator[Batch]:
        """The batches of a plan from step ``start`` on."""
        draws = DeviceDraws(plan, self.labels, self.device)
        index = np.concatenate([part.index for part in plan.streams.values()], axis=1)
        box = np.concatenate([_boxes(part, self.sizes) for part in plan.streams.values()], axis=1)
        # A batch holds the rows of the boxes only. An image is said to begin where its first row would lie.
        wide = self.sizes[index, 1]
        ends = np.cumsum(box[..., 2] * wide, axis=1)
        begins = torch.from_numpy(ends - (box[..., 2] + box[..., 0]) * wide).to(self.device)
        ahead = max(2, self.workers)
        buffers = Buffers((int(ends.max()), 3), ahead, self.device)

        def fill(step: int) -> Sent:
            return buffers.fill(step, lambda into: self._read(into, index[step], box[step], ends[step]))

        steps = range(start, plan.steps)
        for step, sent in zip(steps, in_order(fill, steps, workers=self.workers, ahead=ahead), strict=True):
            flat, streams, first = sent.received(), {}, 0
            for name, row in draws.rows(step).items():
                last = first + len(row["index"])
                shape = {"height": self.height[row["index"]], "width": self.width[row["index"]]}
                where = {"flat": flat, "offset": begins[step, first:last], **shape, "grid": self.grid}
                streams[name] = {**where, **row}
                first = last
            yield draws.batch_of(step, streams)

    def _read(
        self, into: NDArray[np.uint8], index: NDArray[np.int64], box: NDArray[np.int64], ends: NDArray[np.int64]
    ) -> int:
        """Writes the rows of a batch's boxes one after the other; the number of pixels."""
        for position, (top, _, tall, _), end in zip(
            self.positions[index].tolist(), box.tolist(), ends.tolist(), strict=True
        ):
            rows = self.images.image(position)[top : top + tall].reshape(-1, 3)
            into[end - len(rows) : end] = rows
        return int(ends[-1])


def _boxes(part: StreamPlan, sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """What is read of each image, ``[S,B,4]``: the rows of its box, or all of it when an image is made from it."""
    if part.box is None:
        raise RuntimeError("a plan for packed images needs their sizes (make_plan(..., sizes=...))")
    if part.transform is None:
        return part.box
    whole = np.concatenate([np.zeros_like(sizes), sizes], axis=1)[part.index]
    return np.where((part.transform > 0)[..., None], whole, part.box)
