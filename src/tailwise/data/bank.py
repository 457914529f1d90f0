"""Batches of feature maps that were computed before, in the place of images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from tailwise.core.types import Batch
from tailwise.data.plan import EpochPlan
from tailwise.data.source import DeviceDraws


class BankSource:
    """Feature maps of all training images on the device; a batch is a gather of rows by plan index.

    Args:
        maps: ``[N,D,h,w]`` in the order of the training index.
        labels: int64 ``[N]``.
    """

    def __init__(self, maps: Tensor, labels: NDArray[np.int64]) -> None:
        self.maps, self.labels = maps, labels

    def gather(self, row: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """One stream as the task reads it, ``maps`` ``[B,D,h,w]`` in the place of ``image`` (graph-safe)."""
        return {"maps": self.maps[row["index"]], **row}

    def batches(self, plan: EpochPlan, start: int = 0) -> Iterator[Batch]:
        """The batches of a plan from step ``start`` on."""
        draws = DeviceDraws(plan, self.labels, self.maps.device)
        for step in range(start, plan.steps):
            yield draws.batch_of(step, {name: self.gather(row) for name, row in draws.rows(step).items()})
