"""How many threads a CPU run computes with."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager

import torch

from tailwise.engine.recipe import Recipe

#: Up to this image size one thread is used: operations take microseconds, and threads that wait for each other at
#: every one of them stall when another program wants a core.
TINY_IMAGE = 16


@contextmanager
def cpu_threads(recipe: Recipe) -> Generator[int]:
    """Sets PyTorch's number of threads for a run and puts the old one back.

    ``run.threads`` decides; without it, ``OMP_NUM_THREADS``; without that, one thread for tiny images and PyTorch's own
    number for others.
    """
    before = torch.get_num_threads()
    wanted = recipe.run.threads
    if wanted is None and "OMP_NUM_THREADS" not in os.environ and recipe.data.image_size <= TINY_IMAGE:
        wanted = 1
    torch.set_num_threads(wanted or before)
    try:
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(before)
