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
            name: {"label": move(labels[part.index]), "crop": move(part.crop), "flip": move(part.flip)}
            for name, part in plan.streams.items()
        }
        self.index = {name: move(part.index) for name, part in plan.streams.items()}
        self.draws = {slot: {key: move(array) for key, array in arrays.items()} for slot, arrays in plan.draws.items()}

    def batch(self, step: int, images: Mapping[str, Tensor]) -> Batch:
        """The batch of one step around the given images ``[B,3,H,W]`` by stream."""
        batch: Batch = {
            name: {"image": images[name], **{key: array[step] for key, array in arrays.items()}}
            for name, arrays in self.streams.items()
        }
        batch.update({slot: {key: array[step] for key, array in arrays.items()} for slot, arrays in self.draws.items()})
        return batch
