"""What training will take before it starts: steps, images, and roughly how long."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from tailwise.core.errors import TailwiseError
from tailwise.core.spec import to_plain
from tailwise.core.stats import ClassStats
from tailwise.data.cifar import SIZES
from tailwise.data.profiles import class_profile
from tailwise.engine.prepare import cut_index, open_splits
from tailwise.engine.recipe import Data, Recipe
from tailwise.engine.span import spans
from tailwise.engine.task import Task
from tailwise.engine.threads import cpu_threads
from tailwise.report.ledger import Result

#: Most images of a probe's step, and how many steps it times.
PROBE_BATCH, PROBE_STEPS = 16, 3


def count_images(data: Data) -> int | None:
    """Training images of a data section; None when that cannot be told, because the files are not there."""
    if data.name in SIZES and data.subset is None:
        classes, most = SIZES[data.name]
        most = data.max_per_class or most
        if data.imbalance_factor is None:
            return classes * most
        return int(class_profile(data.profile, classes, most, data.imbalance_factor).sum())
    try:
        return len(cut_index(data, open_splits(data)))
    except TailwiseError:
        return None


def stage_images(recipe: Recipe, num_images: int) -> list[int]:
    """Images of the steps of one run, all streams and views together, by stage."""
    pairs = zip(spans(recipe.stages, num_images), recipe.stages, strict=True)
    return [span.steps * stage.images_per_step for span, stage in pairs]


def stored_pace(results: Sequence[Result], recipe: Recipe, device: str) -> float | None:
    """Seconds an image of finished runs like this one: backbone, image size, precision and kind of device agree.

    Returns:
        The median, or None when there is no such run.
    """
    alike = {"backbone": to_plain(recipe.backbone), "precision": recipe.precision}
    paces: list[float] = []
    for result in results:
        spec: dict[str, Any] = result.record.get("spec") or {}
        same = all(spec.get(name) == value for name, value in alike.items())
        size = (spec.get("data") or {}).get("image_size")
        here = str(result.record.get("device", "")).startswith(device)
        images = int(result.data.get("train_images", 0)) * int(result.record.get("epochs", 0))
        if same and here and size == recipe.data.image_size and images and result.seconds:
            paces.append(result.seconds / images)
    return float(np.median(paces)) if paces else None


def probed_pace(recipe: Recipe, device: str) -> float:
    """Seconds an image of a few steps on random images: no evaluation, no reading, one model at a time."""
    batch = min(PROBE_BATCH, max(stream.batch for stream in recipe.stages[0].streams.values()))
    size, classes = recipe.data.image_size, 10
    with cpu_threads(recipe), torch.random.fork_rng(devices=[]):
        task = Task(recipe, ClassStats([batch] * classes)).to(device)
        image = torch.randint(0, 256, (batch, 3, size, size), dtype=torch.uint8).to(device)
        target = torch.arange(batch, device=device) % classes
        times: list[float] = []
        for _ in range(PROBE_STEPS + 1):
            begun = _now(device)
            torch.nn.functional.cross_entropy(task.network(image), target).backward()
            times.append(_now(device) - begun)
        # The first one also sets things up; other programs make a step longer, nothing makes it shorter.
        return min(times[1:]) / batch


def duration(seconds: float) -> str:
    """``"40 s"``, ``"12 min"``, ``"5.5 h"``, ``"3.2 days"``."""
    for unit, length, most in (("s", 1, 100), ("min", 60, 100), ("h", 3600, 48)):
        if seconds < most * length:
            value = seconds / length
            return f"{value:.1f} {unit}" if unit == "h" and value < 10 else f"{value:.0f} {unit}"
    return f"{seconds / 86400:.1f} days"


def _now(device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()
