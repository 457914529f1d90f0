"""Slow versions of the printed equations, sample by sample in float64."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

Array = NDArray[Any]


def row_of(draws: Mapping[str, Array], step: int = 0) -> dict[str, torch.Tensor]:
    """One row as the task gets it."""
    return {name: torch.from_numpy(array[step, ...].copy()) for name, array in draws.items()}


def batch_of(size: int = 6, classes: int = 4, side: int = 5, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Images ``[B,3,H,W]`` in float64 and labels."""
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.normal(size=(size, 3, side, side + 1))), torch.from_numpy(
        rng.integers(0, classes, size)
    )


def partner_of(order: torch.Tensor) -> list[int]:
    """The place of the smallest number of the order, of the second smallest, and so on."""
    numbers = order.tolist()
    return [numbers.index(value) for value in sorted(numbers)]


def shares(lam: torch.Tensor, size: int) -> list[float]:
    """Lambda for every sample."""
    return [float(lam)] * size if lam.ndim == 0 else [float(value) for value in lam]


def mixup(image: torch.Tensor, row: Mapping[str, torch.Tensor]) -> Array:
    """Eq. 1 of zhang2018mixup."""
    partner, lam = partner_of(row["order"]), shares(row["lam"], len(image))
    pairs = [lam[i] * image[i] + (1 - lam[i]) * image[partner[i]] for i in range(len(image))]
    return torch.stack(pairs).numpy()


def remix_share(lam: float, first: int, second: int, kappa: float, tau: float) -> float:
    """Eq. 10 of chou2020remix; counts of the two classes."""
    if first / second >= kappa and lam < tau:
        return 0.0
    if first / second <= 1 / kappa and 1 - lam < tau:
        return 1.0
    return lam


def cutmix(image: torch.Tensor, row: Mapping[str, torch.Tensor]) -> tuple[Array, list[float]]:
    """The paper's code: corners by integer arithmetic, then slices; and the area that is left."""
    height, width = image.shape[-2:]
    partner, lam = partner_of(row["order"]), shares(row["lam"], len(image))
    xs, ys = shares(row["x"], len(image)), shares(row["y"], len(image))
    mixed, area = image.clone(), []
    for i, other in enumerate(partner):
        ratio = math.sqrt(1 - lam[i])
        across, down = int(width * ratio) // 2, int(height * ratio) // 2
        x, y = int(xs[i] * width), int(ys[i] * height)
        left, right = max(x - across, 0), min(x + across, width)
        top, bottom = max(y - down, 0), min(y + down, height)
        mixed[i, :, top:bottom, left:right] = image[other, :, top:bottom, left:right]
        area.append(1 - (right - left) * (bottom - top) / (width * height))
    return mixed.numpy(), area


def cross_entropy(logits: Array, label: Sequence[int]) -> Array:
    """Per sample."""
    shifted = logits - logits.max(1, keepdims=True)
    return np.log(np.exp(shifted).sum(1)) - shifted[np.arange(len(label)), label]
