"""The ways from image files to batches that ``benchmarks.loader`` compares; each is an entry of :func:`all_paths`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from tailwise.augment.pixel import Pixel
from tailwise.data.loader import HostSource
from tailwise.data.open import Splits, open_data, prepare_index
from tailwise.data.pack import open_pack
from tailwise.data.pack_host import PackedHostSource
from tailwise.data.pack_writer import new_header, write_pack
from tailwise.data.plan import EpochPlan, make_plan
from tailwise.data.transforms import ItemTransform
from tailwise.engine.recipe import Data, Optim, Stage, Stream

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CPU = torch.device("cpu")

#: One pass over the images, as the number of images in each batch.
Pass = Callable[[], Iterator[int]]


@dataclass(frozen=True)
class Shape:
    """What all paths have in common: size of the images, batch, workers and seed."""

    size: int
    batch: int
    workers: int
    seed: int


@dataclass(frozen=True)
class Way:
    """One way from files to batches.

    Attributes:
        name: Of the row.
        jitter: Strength of the colour jitter, 0 for none.
        run: One pass.
        baseline: Whether the other ways with the same jitter are compared with this one.
    """

    name: str
    jitter: float
    run: Pass
    baseline: bool = False


def all_paths(folder: Path, shape: Shape, jitter: float, pack_size: int) -> list[Way]:
    """Every way, without and with colour jitter, over the images in ``folder/train``. Packs them into ``folder/pack``.

    Args:
        folder: With splits ``train`` and ``val``.
        shape: In common.
        jitter: Strength in the ways with jitter.
        pack_size: Pixels of the short side in the pack.
    """
    splits = open_data("folder", location=folder)
    write_pack(folder / "pack", splits, new_header(splits, "short", pack_size, ""), workers=shape.workers)
    ours = OurWays(splits, shape)
    return [
        Way("torchvision (ImageFolder, PIL)", 0.0, torchvision_pass(folder, shape, 0.0), baseline=True),
        Way("host path", 0.0, ours.host(0.0)),
        Way("host path, up to the device", 0.0, ours.host(0.0, finish=False)),
        Way("image pack", 0.0, ours.pack(folder / "pack")),
        Way("image pack, up to the device", 0.0, ours.pack(folder / "pack", finish=False)),
        Way("torchvision (ImageFolder, PIL)", jitter, torchvision_pass(folder, shape, jitter), baseline=True),
        Way("host path", jitter, ours.host(jitter)),
    ]


def torchvision_pass(folder: Path, shape: Shape, jitter: float) -> Pass:
    """The pipeline as people write it today: ImageFolder, PIL transforms, DataLoader."""
    steps: list[Any] = [transforms.RandomResizedCrop(shape.size), transforms.RandomHorizontalFlip()]
    steps += [transforms.ColorJitter(jitter, jitter, jitter)] if jitter else []
    steps += [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    loader: DataLoader[Any] = DataLoader(
        datasets.ImageFolder(str(folder / "train"), transforms.Compose(steps)),
        batch_size=shape.batch,
        shuffle=True,
        drop_last=True,
        num_workers=shape.workers,
        persistent_workers=shape.workers > 0,
    )
    return lambda: (len(images) for images, _ in loader)


class OurWays:
    """Passes over the host path and over a pack; every pass has a plan of its own.

    Args:
        splits: The images.
        shape: In common.
    """

    def __init__(self, splits: Splits, shape: Shape) -> None:
        self.splits, self.shape, self.epoch = splits, shape, 0
        self.index = prepare_index(splits)

    def host(self, jitter: float, *, finish: bool = True) -> Pass:
        """JPEG files decoded by worker processes; ``finish`` flips and normalises."""
        positions, labels, shape = self.index.positions, self.index.labels, self.shape
        transform = ItemTransform(shape.size, jitter)
        source = HostSource(
            self.splits.train,
            positions,
            labels,
            size=shape.size,
            transform=transform,
            workers=shape.workers,
            device=CPU,
        )
        device = FlipAndNormalise(shape)

        def run() -> Iterator[int]:
            for batch in source.batches(self.plan(jitter)):
                main = batch["main"]
                yield len(device(main["image"], main["flip"]) if finish else main["image"])

        return run

    def pack(self, folder: Path, *, finish: bool = True) -> Pass:
        """Images from a pack; ``finish`` cuts out, scales, flips and normalises, which is the device's work."""
        positions, labels, shape = self.index.positions, self.index.labels, self.shape
        packed = open_pack(folder, self.splits).train
        source = PackedHostSource(packed, positions, labels, size=shape.size, workers=shape.workers, device=CPU)
        pixel = Pixel(0, MEAN, STD)

        def run() -> Iterator[int]:
            for batch in source.batches(self.plan(0.0, packed.sizes[positions])):
                main = batch["main"]
                yield len(pixel.augment(main) if finish else main["box"])

        return run

    def plan(self, jitter: float, sizes: NDArray[np.int64] | None = None) -> EpochPlan:
        """As many images as fill whole batches, none twice, in another order at every call."""
        self.epoch += 1
        return make_plan(
            Stage(streams={"main": Stream(batch=self.shape.batch)}, optim=Optim()),
            Data(augmentation="random_resized_crop", image_size=self.shape.size, padding=0, color_jitter=jitter),
            self.index.labels,
            self.index.stats,
            seed=self.shape.seed,
            stage_number=0,
            epoch=self.epoch,
            progress=0.0,
            steps=len(self.index) // self.shape.batch,
            sizes=sizes,
        )


class FlipAndNormalise:
    """What :class:`tailwise.augment.pixel.Pixel` makes of images without a border, bit for bit, for a CPU.

    A device has its own memory for batches and uses it again. So does this: the result is overwritten by the next.

    Args:
        shape: Of the batches.
    """

    def __init__(self, shape: Shape) -> None:
        self.out = torch.empty(shape.batch, shape.size, shape.size, 3)
        self.shift = torch.tensor(MEAN).mul(255).repeat(shape.size)
        self.scale = torch.tensor(STD).mul(255).reciprocal().repeat(shape.size)

    def __call__(self, images: Tensor, flip: Tensor) -> Tensor:
        """Float ``[B,3,H,W]`` from uint8 ``[B,3,H,W]`` in channels-last memory and bool ``[B]``."""
        # One image after the other stays in the processor's cache, and a row of colours is one row of numbers.
        for into, image, turned in zip(self.out, images.permute(0, 2, 3, 1), flip.tolist(), strict=True):
            source = image.flip(1) if turned else image
            into.flatten(1).copy_(source.flatten(1)).sub_(self.shift).mul_(self.scale)
        return self.out.permute(0, 3, 1, 2)
