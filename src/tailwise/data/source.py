"""Batches for an epoch plan, from images on the device (resident) or decoded by workers (host)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tailwise.core.types import Batch
from tailwise.data.plan import EpochPlan


class BatchSource(Protocol):
    """Where training batches come from."""

    def batches(self, plan: EpochPlan, start: int = 0) -> Iterator[Batch]:
        """The batches of a plan (already sliced for this rank) from step ``start`` on."""
        ...


class DeviceDraws:
    """The small arrays of a plan (labels, offsets, flips, draws) on the device, one transfer an epoch.

    Args:
        plan: A plan that is already sliced for this rank.
        labels: Of the training index, int64 ``[N]``.
        device: Where the batches are used.
    """

    def __init__(self, plan: EpochPlan, labels: NDArray[np.int64], device: torch.device) -> None:
        def move(array: NDArray[Any]) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(array)).to(device)

        self.streams = {
            name: {key: move(array) for key, array in part.device_arrays(labels).items()}
            for name, part in plan.streams.items()
        }
        self.draws = {slot: {key: move(array) for key, array in arrays.items()} for slot, arrays in plan.draws.items()}

    def rows(self, step: int) -> dict[str, dict[str, Tensor]]:
        """One row ``[B,...]`` of every stream's arrays, ``index`` among them."""
        return {name: {key: array[step] for key, array in arrays.items()} for name, arrays in self.streams.items()}

    def batch_of(self, step: int, streams: Mapping[str, dict[str, Tensor]]) -> Batch:
        """The batch of one step: the given streams, and the draws of the augmentation slots."""
        slots = {slot: {key: array[step] for key, array in arrays.items()} for slot, arrays in self.draws.items()}
        return {**streams, **slots}

    def batch(self, step: int, images: Mapping[str, Tensor]) -> Batch:
        """The batch of one step around the given images ``[B,3,H,W]`` by stream."""
        rows = self.rows(step)
        return self.batch_of(step, {name: with_image(row, images[name]) for name, row in rows.items()})


def with_image(row: Mapping[str, Tensor], image: Tensor) -> dict[str, Tensor]:
    """One stream of a batch: the image ``[B,3,H,W]``, and the rest of a row of the plan."""
    return {"image": image, **row}
