"""Calls in threads whose results come in order, a bounded number of them ahead of their reader."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


def in_order(call: Callable[[int], T], items: range, *, workers: int, ahead: int) -> Iterator[T]:
    """``call`` of every item, in order. What has not started is given up when the reader stops early.

    Args:
        call: Called in threads.
        items: What it is called with.
        workers: Threads, at least one.
        ahead: Results that may wait for the reader, at least one.
    """
    pool, waiting, rest = ThreadPoolExecutor(max(1, workers)), deque[Future[T]](), iter(items)
    try:
        waiting.extend(pool.submit(call, item) for item in islice(rest, max(1, ahead)))
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(pool.submit(call, item) for item in islice(rest, 1))
            yield result
    finally:
        pool.shutdown(cancel_futures=True)
