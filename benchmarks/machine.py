"""What a figure was measured on."""

from __future__ import annotations

import datetime
import os
import platform
from pathlib import Path

import PIL
import torch
import torchvision


def describe_machine(device: torch.device) -> str:
    """Processor, cores, GPU, versions and date in one line."""
    gpu = f", {torch.cuda.get_device_name(device)}" if device.type == "cuda" else ", no GPU"
    return (
        f"{_processor()}, {len(os.sched_getaffinity(0))} cores{gpu}; Python {platform.python_version()}, torch "
        f"{torch.__version__}, torchvision {torchvision.__version__}, Pillow {PIL.__version__}; "
        f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}"
    )


def _processor() -> str:
    """The processor's name as Linux tells it."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.machine()
