"""Device path: the whole set as uint8 on the device; a batch is a gather of rows by plan index."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tailwise.core.types import Batch
from tailwise.data.plan import EpochPlan
from tailwise.data.source import DeviceDraws, with_image


class ResidentSource:
    """Training images that live on the device.

    Args:
        images: uint8 ``[N,3,H,W]`` in the order of the training index.
        labels: int64 ``[N]``.
        device: Where they are kept.
    """

    def __init__(self, images: NDArray[np.uint8], labels: NDArray[np.int64], device: torch.device) -> None:
        self.images: Tensor = torch.from_numpy(images).to(device)
        self.labels = labels
        self.device = device

    def gather(self, row: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """One stream as the task reads it, from one row ``[B,...]`` of the stream's device arrays (graph-safe)."""
        return with_image(row, self.images[row["index"]])

    def batches(self, plan: EpochPlan, start: int = 0) -> Iterator[Batch]:
        """The batches of a plan from step ``start`` on."""
        draws = DeviceDraws(plan, self.labels, self.device)
        for step in range(start, plan.steps):
            yield draws.batch_of(step, {name: self.gather(row) for name, row in draws.rows(step).items()})


def resident_bytes(num_images: int, size: int) -> int:
    """Memory that so many images take as uint8 RGB."""
    return num_images * 3 * size * size
