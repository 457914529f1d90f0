"""The logits of every image of a split, for what is fitted or measured after training."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from tailwise.evaluation.evaluate import Precision, measuring


def collect_logits(
    network: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], precision: Precision
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Logits float32 ``[N, C]`` and labels int64 ``[N]`` of a network in evaluation mode, in the order of the batches.

    Args:
        network: uint8 ``[B,3,H,W]`` to logits ``[B,C]``.
        batches: Images and labels, at least one batch.
        precision: Autocast for the forward pass.
    """
    logits: list[NDArray[np.float32]] = []
    labels: list[NDArray[np.int64]] = []
    with measuring(network, precision):
        for image, label in batches:
            logits.append(network(image).float().cpu().numpy())
            labels.append(label.cpu().numpy())
    return np.concatenate(logits), np.concatenate(labels)
