"""``python -m benchmarks.loader``: images a second from JPEG files to normalised batches, torchvision's way and ours.

All rows are measured in one run of this program on the same made-up photographs. The paths take turns, pass by pass,
and a row gives the median over the passes, so that a busy machine slows all of them alike. The ratio is that of the
times of the torchvision pipeline and of the row in the same turn, again the median.

Every path ends with normalised float batches on the CPU: what happens on the device in training, the flip and the
normalisation (the crop too where the images come from a pack), is done by the main process and counted.
"""

from __future__ import annotations

import dataclasses
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro
from rich.console import Console
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from benchmarks.machine import describe_machine
from benchmarks.photos import write_photos
from benchmarks.table import Table
from tailwise.augment.pixel import Pixel
from tailwise.data.index import LongTailIndex
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

#: One pass over the images: normalised float batches.
Pass = Callable[[], Iterator[Tensor]]


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the benchmark."""

    images: int = 512
    """JPEG files; a pass shows as many of them as fill whole batches."""
    side: int = 500
    """Longer side of a file's image in pixels."""
    size: int = 224
    """Height and width of the images in a batch."""
    batch: int = 64
    workers: int = 2
    """Loader processes of every path; threads of the pack."""
    jitter: float = 0.4
    """Strength of colour jitter in the rows that have it."""
    repeats: int = 7
    """Timed passes of every path, after one that does not count."""
    seed: int = 0
    markdown: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Also write the table here."""


@dataclasses.dataclass(frozen=True)
class Path_:
    """One way from files to batches."""

    name: str
    jitter: float
    run: Pass
    baseline: bool = False


def torchvision_pass(folder: Path, options: Options, jitter: float) -> Pass:
    """The pipeline as people write it today: ImageFolder, PIL transforms, DataLoader."""
    steps: list[Any] = [transforms.RandomResizedCrop(options.size), transforms.RandomHorizontalFlip()]
    steps += [transforms.ColorJitter(jitter, jitter, jitter)] if jitter else []
    steps += [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    loader: DataLoader[Any] = DataLoader(
        datasets.ImageFolder(str(folder / "train"), transforms.Compose(steps)),
        batch_size=options.batch,
        shuffle=True,
        drop_last=True,
        num_workers=options.workers,
        persistent_workers=options.workers > 0,
    )
    return lambda: (images for images, _ in loader)


class OurPasses:
    """Passes over the host path and over a pack; every pass has a plan of its own, drawn before it is timed."""

    def __init__(self, splits: Splits, options: Options) -> None:
        self.splits, self.options, self.epoch = splits, options, 0
        self.index: LongTailIndex = prepare_index(splits)

    def host(self, jitter: float) -> Pass:
        """JPEG files decoded by worker processes."""
        options, index = self.options, self.index
        source = HostSource(
            self.splits.train,
            index.positions,
            index.labels,
            size=options.size,
            transform=ItemTransform(options.size, jitter),
            workers=options.workers,
            device=CPU,
        )

        def run() -> Iterator[Tensor]:
            for batch in source.batches(self.plan(jitter)):
                yield flip_and_normalise(batch["main"]["image"], batch["main"]["flip"])

        return run

    def pack(self, folder: Path, jitter: float) -> Pass:
        """Images from a pack, cropped where the network is: here on the CPU."""
        options, index = self.options, self.index
        packed = open_pack(folder, self.splits).train
        source = PackedHostSource(
            packed, index.positions, index.labels, size=options.size, workers=options.workers, device=CPU
        )
        pixel = Pixel(0, MEAN, STD)

        def run() -> Iterator[Tensor]:
            for batch in source.batches(self.plan(jitter, packed.sizes[index.positions])):
                yield pixel.augment(batch["main"])

        return run

    def plan(self, jitter: float, sizes: Any = None) -> EpochPlan:
        """Every image at most once, in random order, with new draws at every call."""
        self.epoch += 1
        return make_plan(
            Stage(streams={"main": Stream(batch=self.options.batch)}, optim=Optim()),
            Data(augmentation="random_resized_crop", image_size=self.options.size, padding=0, color_jitter=jitter),
            self.index.labels,
            self.index.stats,
            seed=self.options.seed,
            stage_number=0,
            epoch=self.epoch,
            progress=0.0,
            steps=len(self.index) // self.options.batch,
            sizes=sizes,
        )


def flip_and_normalise(image: Tensor, flip: Tensor) -> Tensor:
    """What :class:`tailwise.augment.pixel.Pixel` makes of images without a border, in as little memory as possible.

    Args:
        image: uint8 ``[B,3,H,W]``.
        flip: bool ``[B]``.
    """
    straight = torch.arange(image.shape[3])
    columns = torch.where(flip[:, None], straight.flip(0), straight)
    turned = image.gather(3, columns[:, None, None].expand(image.shape))
    shift = torch.tensor(MEAN).mul(255).view(1, -1, 1, 1)
    scale = torch.tensor(STD).mul(255).reciprocal().view(1, -1, 1, 1)
    return turned.to(torch.float32).sub_(shift).mul_(scale)


def timed(run: Pass) -> tuple[float, int]:
    """Seconds of one pass and the images that it showed."""
    began, shown = time.perf_counter(), 0
    for images in run():
        shown += len(images)
    return time.perf_counter() - began, shown


def measure(options: Options, folder: Path) -> tuple[Table, list[str]]:
    """The table, and notes below it."""
    file_bytes = write_photos(folder, options.images, side=options.side, seed=options.seed)
    splits = open_data("folder", location=folder)
    ours = OurPasses(splits, options)
    write_pack(folder / "pack", splits, new_header(splits, "short", 256, ""), workers=options.workers)
    paths: list[Path_] = []
    for jitter in (0.0, options.jitter):
        paths += [
            Path_("torchvision ImageFolder, PIL", jitter, torchvision_pass(folder, options, jitter), baseline=True),
            Path_("host path", jitter, ours.host(jitter)),
            Path_("pack", jitter, ours.pack(folder / "pack", jitter)),
        ]
    for path in paths:
        timed(path.run)
    turns = [[timed(path.run) for path in paths] for _ in range(options.repeats)]
    table = Table(
        f"JPEG files to batches of {options.batch} images of {options.size} pixels",
        ("path", "colour jitter", "workers", "images", "seconds", "images/s", "ratio"),
    )
    for number, path in enumerate(paths):
        base = next(i for i, other in enumerate(paths) if other.baseline and other.jitter == path.jitter)
        seconds = statistics.median(turn[number][0] for turn in turns)
        ratio = statistics.median(turn[base][0] / turn[number][0] for turn in turns)
        shown = {turn[number][1] for turn in turns}
        table.add(
            path.name,
            f"{path.jitter:g}" if path.jitter else "no",
            str(options.workers),
            "/".join(map(str, sorted(shown))),
            f"{seconds:.3f}",
            f"{statistics.median(turn[number][1] / turn[number][0] for turn in turns):,.0f}",
            f"{ratio:.2f}",
        )
    return table, [str(file_bytes)]


def main(options: Options) -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        table, notes = measure(options, Path(name))
    Console().print(table.to_rich()); print(notes, describe_machine(CPU))

if __name__ == "__main__":
    main(tyro.cli(Options))
