"""Batches on their way to a device; the part that needs a GPU is tested in ``tests/gpu``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from tailwise.data.prefetch import prefetch

CPU = torch.device("cpu")


def test_on_a_cpu_batches_are_handed_through() -> None:
    batches = [torch.full((2,), number) for number in range(4)]
    assert all(left is right for left, right in zip(prefetch(batches, CPU), batches, strict=True))
    assert list(prefetch([], CPU)) == []


def test_on_a_cpu_nothing_is_read_ahead() -> None:
    read: list[int] = []

    def batches() -> Iterator[Tensor]:
        for number in range(3):
            read.append(number)
            yield torch.tensor(number)

    ready = prefetch(batches(), CPU)
    assert int(next(ready)) == 0
    assert read == [0]


def test_an_error_of_the_loader_comes_through() -> None:
    def batches() -> Iterator[Tensor]:
        yield torch.tensor(0)
        raise OSError("gone")

    ready = prefetch(batches(), CPU)
    next(ready)
    with pytest.raises(OSError, match="gone"):
        next(ready)
