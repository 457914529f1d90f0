"""``python -m benchmarks.cifar``: a CIFAR-10-LT run in a plain PyTorch loop, and here: eager, captured, side by side.

All rows are measured in one run of this program on random images with the class sizes of CIFAR-10-LT with imbalance
factor 100 (12,406 for training, 10,000 for the test), ResNet-32, batch 128. The ratio is the plain loop's time of an
epoch over the row's time of an epoch and run, training only.
"""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from rich.console import Console
from torch import nn

from benchmarks.machine import describe_machine
from benchmarks.pictures import cifar_like_arrays, write_folder
from benchmarks.plain import run_plain
from benchmarks.table import Table
from tailwise import load_recipe
from tailwise.engine.progress import make_reporter
from tailwise.engine.recipe import Recipe
from tailwise.engine.train import DataCache, train_many
from tailwise.models.backbone import build_backbone
from tailwise.recipes.base import replace_stream

Pictures = tuple[NDArray[np.uint8], NDArray[np.int64]]


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the benchmark."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    epochs: int = 6
    """Epochs of every timed row; the first does not count, because caches and kernels are chosen in it."""
    plain_epochs: int = 3
    """Epochs of the plain loop; the first does not count."""
    at_once: Annotated[tuple[int, ...], tyro.conf.arg(metavar="K...")] = (2, 4, 8, 16)
    """Numbers of runs side by side."""
    precision: Literal["fp32", "bf16"] = "bf16"
    """Of our rows; the plain loop computes in fp32."""
    batch: int = 128
    width: float = 1.0
    """Width of ResNet-32."""
    largest: int = 5000
    """Training images of the largest class."""
    tests: int = 1000
    """Test images of each class."""
    workers: int = min(8, os.cpu_count() or 1)
    """Loader processes of the plain loop."""
    whole: int = 0
    """Also time whole runs of so many epochs from process start to report, twice: with an empty and a warm compile
    cache. 0: not."""
    markdown: Path | None = None
    """Also write the table here."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table; times in seconds, of one run of those that go side by side."""

    name: str
    step: float
    epoch: float
    startup: float | None
    memory: float | None


def main() -> None:
    """Measures every row and prints the table."""
    options = tyro.cli(Options, description=__doc__)
    use_cuda = torch.cuda.is_available() and options.device != "cpu"
    device = torch.device("cuda" if use_cuda else "cpu")
    console = Console()
    console.print(describe_machine(device), highlight=False)
    train, test = cifar_like_arrays(10, options.largest, 100.0, options.tests)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "pictures"
        write_folder(folder, "train", *train)
        write_folder(folder, "test", *test)
        recipe = _recipe(options, folder, device)
        rows = [_plain(options, device, train, test)]
        console.print(f"{rows[0].name}: {rows[0].epoch:.2f} s an epoch", highlight=False)
        cache = DataCache()
        wishes: list[tuple[str, str, int]] = [("eager", "eager", 1)]
        if use_cuda:
            wishes += [("captured", "captured", 1)]
        wishes += [(f"{number} runs at once", "captured" if use_cuda else "auto", number) for number in options.at_once]
        for name, executor, number in wishes:
            rows.append(_ours(options, recipe, Path(place), cache, console, name, executor, number))
        table = _table(options, rows, len(train[0]))
        whole = _whole_runs(options, folder, device, Path(place)) if options.whole else []
    console.print(table.to_rich())
    for line in whole:
        console.print(line, highlight=False)
    if options.markdown is not None:
        notes = [describe_machine(device), f"`python -m benchmarks.cifar {' '.join(sys.argv[1:])}`", *whole]
        options.markdown.write_text(table.to_markdown(notes))


def _recipe(options: Options, folder: Path, device: torch.device) -> Recipe:
    recipe = load_recipe("ce", data=str(folder), epochs=options.epochs)
    recipe = replace_stream(recipe, 0, batch=options.batch)
    return dataclasses.replace(
        recipe,
        backbone=dataclasses.replace(recipe.backbone, name="resnet32", width=options.width),
        precision=options.precision,
        run=dataclasses.replace(recipe.run, device=device.type, threads=torch.get_num_threads()),
        # One evaluation at the end: the table is about training.
        evaluate=dataclasses.replace(recipe.evaluate, every=options.epochs, last=1),
    )


class _Plain(nn.Module):
    """Backbone, pooling and linear layer, without the rest of this library."""

    def __init__(self, width: float) -> None:
        super().__init__()
        self.backbone = build_backbone("resnet32", width=width)
        features = self.backbone.num_features
        assert isinstance(features, int)
        self.head = nn.Linear(features, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.backbone(x).mean(dim=(2, 3)))


def _plain(options: Options, device: torch.device, train: Pictures, test: Pictures) -> Row:
    times = run_plain(
        _Plain(options.width),
        train,
        test,
        device=device,
        epochs=options.plain_epochs,
        batch=options.batch,
        workers=options.workers,
    )
    counted = times.train[1:] or times.train
    epoch = statistics.median(counted)
    memory = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else None
    return Row(f"plain loop, fp32, {options.workers} workers", epoch / times.steps, epoch, None, memory)


def _ours(
    options: Options,
    recipe: Recipe,
    place: Path,
    cache: DataCache,
    console: Console,
    name: str,
    executor: str,
    number: int,
) -> Row:
    run = dataclasses.replace(recipe.run, executor=executor, at_once=number)
    recipes = [dataclasses.replace(recipe, seed=seed, run=run) for seed in range(number)]
    outs = [place / name.replace(" ", "-") / str(seed) for seed in range(number)]
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    outcomes = train_many(recipes, outs, reporter=make_reporter(console), cache=cache)
    result = json.loads((outcomes[0].folder / "result.json").read_text())
    lines = [json.loads(line) for line in (outcomes[0].folder / "metrics.jsonl").read_text().splitlines()]
    # Images a second of the whole group; each run's share of the time is what a run costs.
    speeds = [line["images_per_second"] for line in lines if line["event"] == "epoch"]
    speed = statistics.median(speeds[1:] or speeds) * number
    step = options.batch / speed
    steps = result["steps"] // result["epochs"]
    memory = torch.cuda.max_memory_allocated() / 2**30 if result["device"].startswith("cuda") else None
    label = f"{name}, {result['executor']}, {recipe.precision}" if number > 1 else f"{name}, {recipe.precision}"
    return Row(label, step, step * steps, result["startup_seconds"] * number, memory)


def _table(options: Options, rows: list[Row], images: int) -> Table:
    table = Table(
        title=f"ResNet-32 (width {options.width:g}), {images:,} images of 32 x 32, batch {options.batch}; per run",
        columns=("", "ms a step", "images/s", "s an epoch", "start-up s", "200 epochs s", "memory GiB", "x plain loop"),
    )
    for row in rows:
        table.add(
            row.name,
            f"{1000 * row.step:.2f}",
            f"{options.batch / row.step:,.0f}",
            f"{row.epoch:.3f}",
            "-" if row.startup is None else f"{row.startup:.1f}",
            f"{200 * row.epoch:.0f}",
            "-" if row.memory is None else f"{row.memory:.1f}",
            f"{rows[0].epoch / row.epoch:.2f}",
        )
    return table


def _whole_runs(options: Options, folder: Path, device: torch.device, place: Path) -> list[str]:
    """Whole runs in processes of their own, from the start of the process to its page."""
    lines: list[str] = []
    for cache in ("empty", "warm"):
        command = [sys.executable, "-m", "tailwise", "train", "ce", "--data", str(folder)]
        command += ["--epochs", str(options.whole), "--precision", options.precision, "--device", device.type]
        command += ["--backbone.width", str(options.width), "--stages.0.streams.main.batch", str(options.batch)]
        command += ["--out", str(place / f"whole-{cache}")]
        environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(place / "compiled")}
        begun = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
        elapsed = time.perf_counter() - begun
        result = json.loads((place / f"whole-{cache}" / "result.json").read_text())
        lines.append(
            f"whole run of {options.whole} epochs, {result['executor']}, {cache} compile cache: {elapsed:.1f} s from "
            f"process start to page, of which {result['seconds']:.1f} s training and evaluation and "
            f"{result['startup_seconds']:.1f} s before the first step"
        )
    return lines


if __name__ == "__main__":
    main()
