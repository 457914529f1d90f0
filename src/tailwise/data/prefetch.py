"""Batches on the device, one ahead of the batch in use."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor


def prefetch(batches: Iterable[Tensor], device: torch.device) -> Iterator[Tensor]:
    """The same batches on the device, in the same order.

    On a CUDA device a batch is copied on a stream beside that of the network, and its copy is under way before the
    batch in front of it is handed out. Batches in pinned memory are copied while the network computes; others are
    correct but wait. On any other device batches are moved one by one, on a CPU they are handed through.

    Args:
        batches: Tensors on the host.
        device: Where they go.
    """
    if device.type != "cuda":
        for batch in batches:
            yield batch.to(device)
        return
    side = torch.cuda.Stream(device)

    def send(batch: Tensor) -> tuple[Tensor, torch.cuda.Event]:
        # The memory belongs to the side stream. Pinned memory is kept from reuse by its own allocator until the copy
        # is done, so nobody else needs to hold the batch.
        arrival = torch.cuda.Event()
        with torch.cuda.stream(side):
            sent = batch.to(device, non_blocking=True)
            arrival.record(side)
        return sent, arrival

    def receive(sent: Tensor, arrival: torch.cuda.Event) -> Tensor:
        stream = torch.cuda.current_stream(device)
        stream.wait_event(arrival)
        sent.record_stream(stream)  # or the side stream could write the next batch into it while it is being read
        return sent

    waiting: tuple[Tensor, torch.cuda.Event] | None = None
    for batch in batches:
        following = send(batch)
        if waiting is not None:
            yield receive(*waiting)
        waiting = following
    if waiting is not None:
        yield receive(*waiting)
