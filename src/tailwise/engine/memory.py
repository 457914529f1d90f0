"""The most memory that a run has taken, for its record."""

from __future__ import annotations

import sys
from typing import Any

import torch


def reset_peak(device: torch.device) -> None:
    """Begins to look for the peak anew; only the memory of a GPU can be asked so.

    Args:
        device: Where the run computes.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory(device: torch.device) -> dict[str, Any] | None:
    """The peak, and what it is of.

    Args:
        device: Where the run computed.

    Returns:
        ``bytes``, and ``of`` in words: on a GPU the tensors since :func:`reset_peak`, of all runs that trained side by
        side; else the resident memory of the whole process since it started. None where the system does not tell it.
    """
    if device.type == "cuda":
        return {"bytes": int(torch.cuda.max_memory_allocated(device)), "of": "tensors on the GPU"}
    try:
        import resource
    except ImportError:
        return None
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Kibibytes on Linux, bytes on macOS.
    return {"bytes": used if sys.platform == "darwin" else 1024 * used, "of": "process since it started"}
