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
from tailwise.data.plan import EpochPlan
from tailwise.data.source import DeviceDraws, without_index

#: Pixels that are moved to the device at a time.
CHUNK = 64 << 20


class PackedResidentSource:
    """Packed training images that live on the device, one after the other in one flat tensor.

    Args:
        images: Of the training pool.
        positions: int64 ``[N]``, the training index's positions in the pool.
        labels: int64 ``[N]``.
        size: Height and width of the images that the network sees.
        device: Where the pixels are kept.
    """

    def __init__(
        self,
        images: PackedImages,
        positions: NDArray[np.int64],
        labels: NDArray[np.int64],
        *,
        size: int,
        device: torch.device,
    ) -> None:
        self.labels, self.device = labels, device
        sizes = images.sizes[positions]
        ends = np.cumsum(sizes.prod(axis=1))
        self.flat = torch.empty((int(ends[-1]), 3), dtype=torch.uint8, device=device)
        self.offset = torch.from_numpy(ends - sizes.prod(axis=1)).to(device)
        self.width = torch.from_numpy(sizes[:, 1].copy()).to(device)
        self.grid = pixel_centres(size, device)
        self._move(images, positions, ends)

    def _move(self, images: PackedImages, positions: NDArray[np.int64], ends: NDArray[np.int64]) -> None:
        """Piece by piece, so that the host never holds a second copy of everything."""
        at = done = 0
        while at < len(positions):
            until = max(at + 1, int(np.searchsorted(ends, done + CHUNK, side="right")))
            piece = np.concatenate([images.image(position).reshape(-1, 3) for position in positions[at:until].tolist()])
            self.flat[done : done + len(piece)] = torch.from_numpy(piece).to(self.device)
            at, done = until, done + len(piece)

    def gather(self, row: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """One stream as the task reads it, from one row ``[B,...]`` of the stream's device arrays (graph-safe)."""
        index = row["index"]
        where = {"flat": self.flat, "offset": self.offset[index], "width": self.width[index], "grid": self.grid}
        return {**where, **without_index(row)}

    def batches(self, plan: EpochPlan, start: int = 0) -> Iterator[Batch]:
        """The batches of a plan from step ``start`` on."""
        draws = DeviceDraws(plan, self.labels, self.device)
        for step in range(start, plan.steps):
            yield draws.batch_of(step, {name: self.gather(row) for name, row in draws.rows(step).items()})
