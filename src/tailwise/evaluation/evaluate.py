"""Run a network over an evaluation split; ranks take disjoint slices and nothing is padded."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tailwise.data.index import Pool
from tailwise.data.loader import evaluation_batches
from tailwise.evaluation.confusion import Accumulator, Evaluation
from tailwise.heads.base import HeadModule
from tailwise.models.network import Network


class Precision(Protocol):
    """What evaluation needs of the runtime."""

    def autocast(self) -> AbstractContextManager[Any]:
        """The context in which the network runs."""
        ...


class EvaluationSplit:
    """This rank's share ``rank::world`` of an evaluation split, on the device or decoded as it is read.

    Args:
        pool: The split.
        positions: int64 ``[M]``, the readable images.
        images: uint8 ``[M,3,size,size]`` decoded before, or None to decode at each evaluation.
        size: Height and width.
        batch: Images a step.
        workers: Decoding processes when nothing is decoded before.
        device: Where the network is.
        rank: This process.
        world: Number of processes.
        zoom: How much larger than ``size`` the short side is made before the centre is cut out.
    """

    def __init__(
        self,
        pool: Pool,
        positions: NDArray[np.int64],
        images: NDArray[np.uint8] | None,
        *,
        size: int,
        batch: int,
        workers: int,
        device: torch.device,
        rank: int = 0,
        world: int = 1,
        zoom: float = 1.0,
    ) -> None:
        self.pool, self.positions = pool, positions[rank::world]
        self.size, self.batch, self.workers, self.device, self.zoom = size, batch, workers, device, zoom
        self.images = None if images is None else torch.from_numpy(images[rank::world]).to(device)
        self.labels = torch.from_numpy(pool.labels[self.positions]).to(device)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        if self.images is None:
            yield from evaluation_batches(
                self.pool,
                self.positions,
                size=self.size,
                batch=self.batch,
                workers=self.workers,
                device=self.device,
                zoom=self.zoom,
            )
        else:
            for first in range(0, len(self.labels), self.batch):
                part = slice(first, first + self.batch)
                yield self.images[part], self.labels[part]


def evaluate(
    network: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    num_classes: int,
    precision: Precision,
    device: torch.device,
) -> Evaluation:
    """Counts of a network in evaluation mode; its mode is put back afterwards.

    Args:
        network: uint8 ``[B,3,H,W]`` to logits ``[B,C]``.
        batches: Images and labels of this rank.
        num_classes: ``C``.
        precision: Autocast for the forward pass.
        device: Where the counts live.
    """
    accumulator = Accumulator(num_classes, device)
    with measuring(network, precision):
        for image, label in batches:
            accumulator.update(network(image).float(), label)
    return accumulator.compute()


class Measured(NamedTuple):
    """What one pass over an evaluation split gave.

    Attributes:
        own: The counts of the network itself.
        others: Those of the same network with other heads, by name.
        branches: Those of every branch of the network's own head, by name.
    """

    own: Evaluation
    others: dict[str, Evaluation]
    branches: dict[str, Evaluation]


def evaluate_heads(
    network: Network,
    heads: Mapping[str, HeadModule],
    batches: Iterable[tuple[Tensor, Tensor]],
    num_classes: int,
    precision: Precision,
    device: torch.device,
) -> Measured:
    """Counts of a network, of its head's branches, and of the same network with other heads, from one pass.

    Args:
        network: Measured with its own head first.
        heads: Other heads by name, on the same device.
        batches: Images and labels of this rank.
        num_classes: ``C``.
        precision: Autocast for the forward pass.
        device: Where the counts live.
    """
    own, others = Accumulator(num_classes, device), {name: Accumulator(num_classes, device) for name in heads}
    branches = {name: Accumulator(num_classes, device) for name in network.head.branches}
    for head in heads.values():
        head.eval()
    with measuring(network, precision):
        for image, label in batches:
            maps = network.maps(network.pixel(image))
            outputs = network.head(maps)
            own.update(network.head.predict(outputs).float(), label)
            for name, accumulator in branches.items():
                accumulator.update(outputs[name].float(), label)
            for name, head in heads.items():
                others[name].update(head.predict(head(maps)).float(), label)
    return Measured(own.compute(), _computed(others), _computed(branches))


def _computed(accumulators: Mapping[str, Accumulator]) -> dict[str, Evaluation]:
    return {name: accumulator.compute() for name, accumulator in accumulators.items()}


@contextmanager
def measuring(network: nn.Module, precision: Precision) -> Generator[None]:
    """Evaluation mode without gradients under the precision's autocast; the modes are put back afterwards."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    with torch.no_grad(), precision.autocast():
        yield
    for module, training in modes.items():
        module.training = training
