"""``python -m benchmarks.imagenet``: training ResNet-50 and ResNet-10 at 224 pixels from an image pack.

The images are made-up photographs, packed with a short side of 256 pixels. The baseline trains the same network on the
same photographs as people write it today: ImageFolder, PIL transforms in loader workers, bfloat16 autocast, one eager
step after the other. All rows are measured in one run; the ratio is images a second over the baseline's.
"""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro
from rich.console import Console
from torch import nn
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from benchmarks.machine import describe_machine
from benchmarks.photos import write_photos
from benchmarks.table import Table
from tailwise import load_recipe
from tailwise.cli import main as tailwise
from tailwise.engine.recipe import IMAGENET_MEAN, IMAGENET_STD, Recipe
from tailwise.engine.train import DataCache, train
from tailwise.models.backbone import build_backbone
from tailwise.recipes.base import replace_stage, replace_stream


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the benchmark."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    backbones: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME...")] = ("resnet10", "resnet50")
    images: int = 2048
    """Photographs; they repeat."""
    classes: int = 8
    steps: int = 30
    """Steps of an epoch."""
    epochs: int = 3
    """Epochs of each row; the first does not count."""
    batch: int = 256
    size: int = 224
    """Height and width in training."""
    pack_size: int = 256
    """Short side of the packed images."""
    workers: int = min(16, os.cpu_count() or 1)
    """Loader processes of the baseline, and threads of the packing."""
    jitter: float = 0.4
    """Strength of the colour jitter."""
    precision: Literal["fp32", "bf16"] = "bf16"
    markdown: Path | None = None
    """Also write the table here."""


class _Plain(nn.Module):
    """Backbone, pooling and linear layer."""

    def __init__(self, name: str, classes: int) -> None:
        super().__init__()
        self.backbone = build_backbone(name)
        features = self.backbone.num_features
        assert isinstance(features, int)
        self.head = nn.Linear(features, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.backbone(x).mean(dim=(2, 3)))


def plain_speed(options: Options, folder: Path, name: str, device: torch.device) -> float:
    """Images a second of the ordinary pipeline and loop; the first pass does not count."""
    transform = transforms.Compose(
        [
            transforms.RandomResizedCrop(options.size),
            transforms.RandomHorizontalFlip(),
            transforms.ColorJitter(options.jitter, options.jitter, options.jitter),
            transforms.ToTensor(),
            transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )
    data = datasets.ImageFolder(str(folder / "train"), transform)
    batch = min(options.batch, options.images)
    loader = DataLoader(
        data,
        batch,
        shuffle=True,
        drop_last=True,
        num_workers=options.workers,
        pin_memory=device.type == "cuda",
        persistent_workers=options.workers > 0,
    )
    network = _Plain(name, options.classes).to(device)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
    criterion = nn.CrossEntropyLoss()
    speeds: list[float] = []
    for _ in range(2):
        begun = time.perf_counter()
        running = 0.0
        for images, labels in loader:
            images, labels = images.to(device, non_blocking=True), labels.to(device, non_blocking=True)
            with torch.autocast(device.type, torch.bfloat16, enabled=options.precision == "bf16"):
                loss = criterion(network(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            running += loss.item()
        speeds.append(len(loader) * batch / (time.perf_counter() - begun))
    return speeds[-1]


def our_speed(options: Options, recipe: Recipe, cache: DataCache, out: Path) -> tuple[float, float, str]:
    """Images a second, seconds of start-up, and the kind of the executor."""
    folder = train(recipe, out, cache=cache)
    result = json.loads((folder / "result.json").read_text())
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    speeds = [line["images_per_second"] for line in lines if line["event"] == "epoch"]
    return statistics.median(speeds[1:] or speeds), result["startup_seconds"], result["executor"]


def main() -> None:
    """Measures every row and prints the table."""
    options = tyro.cli(Options, description=__doc__)
    use_cuda = torch.cuda.is_available() and options.device != "cpu"
    device = torch.device("cuda" if use_cuda else "cpu")
    console = Console()
    console.print(describe_machine(device), highlight=False)
    table = Table(
        f"Training at {options.size} pixels, batch {options.batch}, {options.precision}",
        ("network", "path", "images/s", "start-up s", "memory GiB", "x plain loop"),
    )
    with tempfile.TemporaryDirectory() as place:
        folder, pack = Path(place) / "photos", Path(place) / "pack"
        write_photos(folder, options.images, num_classes=options.classes)
        command = ["data", "pack", str(folder), "--size", str(options.pack_size), "--out", str(pack)]
        if tailwise([*command, "--workers", str(max(1, options.workers))]):
            sys.exit("packing failed")
        cache = DataCache()
        for name in options.backbones:
            baseline = plain_speed(options, folder, name, device)
            table.add(name, f"plain loop, {options.workers} workers", f"{baseline:,.0f}", "-", "-", "1.00")
            for executor in ("eager", "compiled", "captured") if use_cuda else ("eager",):
                if use_cuda:
                    torch.cuda.empty_cache()
                    torch.cuda.reset_peak_memory_stats()
                recipe = _recipe(options, folder, pack, name, device, executor)
                speed, startup, kind = our_speed(options, recipe, cache, Path(place) / name / executor)
                memory = f"{torch.cuda.max_memory_allocated() / 2**30:.1f}" if use_cuda else "-"
                table.add(name, f"pack, {kind}", f"{speed:,.0f}", f"{startup:.1f}", memory, f"{speed / baseline:.2f}")
                console.print(f"{name}, {kind}: {speed:,.0f} images/s", highlight=False)
    console.print(table.to_rich())
    if options.markdown is not None:
        notes = [describe_machine(device), f"`python -m benchmarks.imagenet {' '.join(sys.argv[1:])}`"]
        options.markdown.write_text(table.to_markdown(notes))


def _recipe(options: Options, folder: Path, pack: Path, name: str, device: torch.device, executor: str) -> Recipe:
    recipe = load_recipe("ce", data=str(folder), image_size=options.size)
    recipe = replace_stage(recipe, 0, epochs=options.epochs, steps_per_epoch=options.steps)
    recipe = replace_stream(recipe, 0, batch=options.batch)
    return dataclasses.replace(
        recipe,
        data=dataclasses.replace(
            recipe.data,
            pack=str(pack),
            path="resident",
            augmentation="random_resized_crop",
            color_jitter=options.jitter,
            # The packed short side is that of the evaluation.
            eval_zoom=options.pack_size / options.size,
        ),
        backbone=dataclasses.replace(recipe.backbone, name=name, width=1.0),
        precision=options.precision,
        run=dataclasses.replace(recipe.run, device=device.type, executor=executor, threads=torch.get_num_threads()),
        evaluate=dataclasses.replace(recipe.evaluate, every=options.epochs, last=1),
    )


if __name__ == "__main__":
    main()
