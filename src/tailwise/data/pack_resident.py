"""Training from a pack whose pixels all lie on the device.

A stream of a batch holds what :func:`~tailwise.augment.crop_resize.crop_resize` reads in place of ``image``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tailwise.augment.crop_resize import pixel_centres
from tailwise.core.types import Batch
from tailwise.data.pack import PackedImages
from tailwise.data.pack_ahead import in_order
from tailwise.data.pack_buffers import Buffers, Sent
from tailwise.data.plan import EpochPlan
from tailwise.data.source import DeviceDraws

#: Least number of pixels that are moved to the device at a time.
CHUNK = 16 << 20


class PackedResidentSource:
    """Packed training images that live on the device, one after the other in one flat tensor.

    Args:
        images: Of the training pool.
        positions: int64 ``[N]``, the training index's positions in the pool.
        labels: int64 ``[N]``.
        size: Height and width of the images that the network sees.
        device: Where the pixels are kept.
        workers: Threads that read them from the pack.
    """

    def __init__(
        self,
        images: PackedImages,
        positions: NDArray[np.int64],
        labels: NDArray[np.int64],
        *,
        size: int,
        device: torch.device,
        workers: int = 2,
    ) -> None:
        self.labels, self.device = labels, device
        sizes = images.sizes[positions]
        self.offset = torch.from_numpy(np.cumsum(sizes.prod(axis=1)) - sizes.prod(axis=1)).to(device)
        self.height, self.width = (torch.from_numpy(sizes[:, side].copy()).to(device) for side in (0, 1))
        self.grid = pixel_centres(size, device)
        self.flat = _moved(images, positions, device, max(1, workers))

    def gather(self, row: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """One stream as the task reads it, from one row ``[B,...]`` of the stream's device arrays (graph-safe)."""
        index = row["index"]
        shape = {"height": self.height[index], "width": self.width[index]}
        return {"flat": self.flat, "offset": self.offset[index], **shape, "grid": self.grid, **row}

    def batches(self, plan: EpochPlan, start: int = 0) -> Iterator[Batch]:
        """The batches of a plan from step ``start`` on."""
        draws = DeviceDraws(plan, self.labels, self.device)
        for step in range(start, plan.steps):
            yield draws.batch_of(step, {name: self.gather(row) for name, row in draws.rows(step).items()})


def _moved(images: PackedImages, positions: NDArray[np.int64], device: torch.device, workers: int) -> Tensor:
    """The pixels ``[P,3]`` of these images on the device, moved piece by piece while the next ones are read."""
    ends = np.cumsum(images.sizes[positions].prod(axis=1))
    flat = torch.empty((int(ends[-1]), 3), dtype=torch.uint8, device=device)
    # The first image of every piece: the one with which the pixels before it exceed a further multiple of CHUNK.
    piece_of = (ends - images.sizes[positions].prod(axis=1)) // CHUNK
    firsts = np.flatnonzero(np.diff(piece_of, prepend=-1))
    lasts = np.append(firsts[1:], len(positions))
    begins, after = np.append(0, ends)[firsts], ends[lasts - 1]
    buffers = Buffers((int((after - begins).max()), 3), workers + 1, device)

    def read(piece: int) -> Sent:
        def write(into: NDArray[np.uint8]) -> int:
            for number in range(firsts[piece], lasts[piece]):
                image = images.image(int(positions[number])).reshape(-1, 3)
                end = int(ends[number] - begins[piece])
                into[end - len(image) : end] = image
            return int(after[piece] - begins[piece])

        return buffers.fill(piece, write)

    pieces = range(len(firsts))
    for piece, sent in zip(pieces, in_order(read, pieces, workers=workers, ahead=workers + 1), strict=True):
        flat[begins[piece] : after[piece]] = sent.received()[: after[piece] - begins[piece]]
    return flat
