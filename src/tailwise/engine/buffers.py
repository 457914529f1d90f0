"""The plan of an epoch at fixed places in device memory, so that a captured step can read one row after another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tailwise.core.types import Batch
from tailwise.data.plan import EpochPlan


@runtime_checkable
class Gathers(Protocol):
    """A source whose images are on the device: a row of its plan becomes a batch without the host."""

    labels: NDArray[np.int64]

    def gather(self, row: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The images of one row of device arrays, and what the task needs to augment them."""
        ...


class EpochBuffers:
    """Device copies of every array of a plan, by stream and by augmentation slot.

    Args:
        plan: The longest epoch of the stage; it fixes the shapes ``[S, ...]``.
        source: Knows the labels, and turns a row into images.
        device: Where the buffers lie.
    """

    def __init__(self, plan: EpochPlan, source: Gathers, device: torch.device) -> None:
        self.source = source
        self.arrays: dict[str, dict[str, Tensor]] = {
            group: {name: torch.from_numpy(np.ascontiguousarray(array)).to(device) for name, array in arrays.items()}
            for group, arrays in self._of(plan).items()
        }
        self.streams = tuple(plan.streams)
        self.steps = plan.steps

    def load(self, plan: EpochPlan) -> None:
        """Copies another epoch's plan in; it may be shorter.

        Raises:
            ValueError: It is longer, or has other arrays.
        """
        if plan.steps > self.steps:
            raise ValueError(f"buffers for {self.steps} steps cannot take {plan.steps}")
        for group, arrays in self._of(plan).items():
            for name, array in arrays.items():
                self.arrays[group][name][: plan.steps].copy_(torch.from_numpy(np.ascontiguousarray(array)))

    def batch(self, cursor: Tensor) -> Batch:
        """The batch of one step.

        Args:
            cursor: int64 ``[1]``, the step, on the device.
        """
        batch: Batch = {}
        for group, arrays in self.arrays.items():
            row = {name: array.index_select(0, cursor).squeeze(0) for name, array in arrays.items()}
            batch[group] = self.source.gather(row) if group in self.streams else row
        return batch

    def _of(self, plan: EpochPlan) -> dict[str, Mapping[str, NDArray[Any]]]:
        streams = {name: part.device_arrays(self.source.labels) for name, part in plan.streams.items()}
        return {**streams, **plan.draws}
