"""Batches are copied to the device beside the network's work and arrive unchanged."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tailwise.data.prefetch import prefetch

pytestmark = pytest.mark.gpu


def host_batches(pinned: bool, count: int = 12) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    batches = [torch.randint(0, 256, (64, 96, 96, 3), dtype=torch.uint8, generator=generator) for _ in range(count)]
    return [batch.pin_memory() for batch in batches] if pinned else batches


@pytest.mark.parametrize("pinned", [True, False])
def test_batches_on_the_device_equal_those_on_the_host(pinned: bool) -> None:
    device = torch.device("cuda", torch.cuda.current_device())
    batches = host_batches(pinned)
    arrived = list(prefetch(iter(batches), device))
    assert all(batch.device == device for batch in arrived)
    assert [torch.equal(there.cpu(), here) for there, here in zip(arrived, batches, strict=True)] == [True] * 12


def test_memory_of_a_batch_is_not_written_while_slow_work_reads_it() -> None:
    device = torch.device("cuda", torch.cuda.current_device())
    batches = host_batches(pinned=True)
    big = torch.randn(2048, 2048, device=device)
    sums: list[Tensor] = []
    for batch in prefetch(iter(batches), device):
        for _ in range(20):  # the host is far ahead of the device when it drops the batch
            big = (big @ big).clamp(-1, 1)
        sums.append(batch.to(torch.int64).sum() + (0 * big[0, 0]).to(torch.int64))
        del batch
    assert torch.stack(sums).tolist() == [int(batch.to(torch.int64).sum()) for batch in batches]


def test_batches_are_ready_for_the_stream_that_asks_for_them() -> None:
    device = torch.device("cuda", torch.cuda.current_device())
    batches = host_batches(pinned=True)
    stream = torch.cuda.Stream(device)
    with torch.cuda.stream(stream):
        sums = [batch.to(torch.int64).sum() for batch in prefetch(iter(batches), device)]
    stream.synchronize()
    assert torch.stack(sums).tolist() == [int(batch.to(torch.int64).sum()) for batch in batches]
