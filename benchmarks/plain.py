"""The baseline: an ordinary PyTorch training loop, as people write it today; nothing of this library but the network.

A torchvision-style data set in memory, PIL transforms in loader workers, one eager float32 step after the other, and
a test of the whole test set after every epoch.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


class Pictures(Dataset[tuple[Any, int]]):
    """Images in memory, handed out as torchvision's CIFAR classes do: a PIL image through a transform.

    Args:
        images: uint8 ``[N,H,W,3]``.
        labels: int64 ``[N]``.
        transform: From a PIL image to a tensor.
    """

    def __init__(self, images: NDArray[np.uint8], labels: NDArray[np.int64], transform: Any) -> None:
        self.images, self.labels, self.transform = images, labels, transform

    def __len__(self) -> int:
        """Number of images."""
        return len(self.labels)

    def __getitem__(self, position: int) -> tuple[Any, int]:
        """One transformed image and its label."""
        return self.transform(Image.fromarray(self.images[position])), int(self.labels[position])


@dataclass
class PlainTimes:
    """What the loop measured, in seconds.

    Attributes:
        train: Of every epoch's training.
        test: Of every epoch's test.
        steps: Of an epoch.
    """

    train: list[float] = field(default_factory=list)
    test: list[float] = field(default_factory=list)
    steps: int = 0


def run_plain(
    network: nn.Module,
    train: tuple[NDArray[np.uint8], NDArray[np.int64]],
    test: tuple[NDArray[np.uint8], NDArray[np.int64]],
    *,
    device: torch.device,
    epochs: int,
    batch: int,
    workers: int,
) -> PlainTimes:
    """Trains for some epochs and takes the time.

    Args:
        network: From float images ``[B,3,H,W]`` to logits.
        train: Images ``[N,H,W,3]`` and labels.
        test: The same for the test set.
        device: Where to train.
        epochs: How many.
        batch: Images a step.
        workers: Loader processes.
    """
    size = train[0].shape[1]
    to_tensor: Sequence[Any] = (transforms.ToTensor(), transforms.Normalize(MEAN, STD))
    augmented = transforms.Compose(
        [transforms.RandomCrop(size, padding=4), transforms.RandomHorizontalFlip(), *to_tensor]
    )
    keywords: dict[str, Any] = {"num_workers": workers, "pin_memory": device.type == "cuda"}
    loader = DataLoader(Pictures(*train, augmented), batch, shuffle=True, drop_last=True, **keywords)
    test_loader = DataLoader(Pictures(*test, transforms.Compose(to_tensor)), 100, **keywords)
    network = network.to(device)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=2e-4, nesterov=True)
    times = PlainTimes(steps=len(loader))
    for _ in range(epochs):
        begun = time.perf_counter()
        network.train()
        running = 0.0
        for images, labels in loader:
            images, labels = images.to(device, non_blocking=True), labels.to(device, non_blocking=True)
            loss = criterion(network(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            running += loss.item()
        times.train.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        network.eval()
        correct = 0
        with torch.no_grad():
            for images, labels in test_loader:
                guess = network(images.to(device, non_blocking=True)).argmax(1)
                correct += int((guess == labels.to(device, non_blocking=True)).sum())
        times.test.append(time.perf_counter() - begun)
    return times
