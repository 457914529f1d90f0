"""Pooled features of a split, all of them on every process."""

from __future__ import annotations

from typing import Protocol, cast

import torch
from torch import Tensor

from tailwise.evaluation.evaluate import EvaluationSplit, Precision, measuring
from tailwise.heads.base import HeadModule
from tailwise.models.network import Network


class Processes(Precision, Protocol):
    """What gathering features needs of the runtime."""

    @property
    def rank(self) -> int:
        """Number of this process."""
        ...

    @property
    def world(self) -> int:
        """Number of processes."""
        ...

    def sum(self, value: Tensor) -> Tensor:
        """The tensor summed over processes."""
        ...


def pooled_features(
    network: Network, split: EvaluationSplit, num_images: int, processes: Processes
) -> tuple[Tensor, Tensor]:
    """What the head of a network in evaluation mode sees of every image of a split, pooled.

    Every process computes its share ``rank::world``. The order is that of the split, whatever the number of processes.

    Args:
        network: Its modes are put back afterwards.
        split: This process's share of the images.
        num_images: Images of the split over all processes, ``N``.
        processes: Precision, and the exchange between processes.

    Returns:
        Features, float32 ``[N,D]``, and labels, int64 ``[N]``, on the split's device.
    """
    width = cast(int, network.backbone.num_features)
    features = torch.zeros(num_images, width, device=split.device)
    labels = torch.zeros(num_images, dtype=torch.int64, device=split.device)
    own_features, own_labels = features[processes.rank :: processes.world], labels[processes.rank :: processes.world]
    first = 0
    with measuring(network, processes):
        for image, label in split:
            rows = slice(first, first + len(label))
            own_features[rows] = HeadModule.pool(network.maps(network.pixel(image))).float()
            own_labels[rows] = label
            first += len(label)
    # The rows of the other processes are zero here, so the sum puts all shares together.
    return processes.sum(features), processes.sum(labels)
