"""Memory through which batches reach the device ahead of their use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Sent:
    """A batch's pixels on the device, or on their way there."""

    pixels: Tensor
    arrival: torch.cuda.Event | None = None

    def received(self) -> Tensor:
        """The pixels, for use on the current stream, which waits for them while the host goes on."""
        if self.arrival is not None:
            stream = torch.cuda.current_stream(self.pixels.device)
            stream.wait_event(self.arrival)
            self.pixels.record_stream(stream)
        return self.pixels


class Buffers:
    """Memory for the pixels of batches, all of one shape.

    On a CPU every batch gets its own. On a CUDA device batches take turns with buffers of pinned memory, and each is
    copied to new memory of the device on a stream beside that of the network.

    Args:
        shape: Of a batch of uint8; the first dimension may be filled in part.
        slots: Batches that are prepared at the same time.
        device: Where they go.
    """

    def __init__(self, shape: tuple[int, ...], slots: int, device: torch.device) -> None:
        self.shape, self.device = shape, device
        self.side = torch.cuda.Stream(device) if device.type == "cuda" else None
        turns = slots if self.side is not None else 0
        self.pinned = [torch.empty(shape, dtype=torch.uint8, pin_memory=True) for _ in range(turns)]
        self.sent: list[torch.cuda.Event | None] = [None] * turns

    def fill(self, number: int, write: Callable[[NDArray[np.uint8]], int]) -> Sent:
        """Has a batch written and sends it; called in threads, for numbers that follow each other.

        Args:
            number: Of the batch.
            write: Gets an array of the shape and returns how much of its first dimension it wrote.
        """
        if self.side is None:
            pixels = torch.empty(self.shape, dtype=torch.uint8, device=self.device)
            write(pixels.numpy())
            return Sent(pixels)
        slot = number % len(self.pinned)
        before = self.sent[slot]
        if before is not None:
            before.synchronize()
        used = write(self.pinned[slot].numpy())
        with torch.cuda.device(self.device), torch.cuda.stream(self.side):
            pixels = torch.empty(self.shape, dtype=torch.uint8, device=self.device)
            pixels[:used].copy_(self.pinned[slot][:used], non_blocking=True)
            arrival = torch.cuda.Event()
            arrival.record(self.side)
        self.sent[slot] = arrival
        return Sent(pixels, arrival)
