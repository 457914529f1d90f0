"""``python -m benchmarks.loader``: images a second from JPEG files to batches, torchvision's way and ours.

All rows are measured in one run of this program on the same made-up photographs. The ways take turns, pass by pass,
and a row gives medians over the passes, so that a machine that is busy for a while slows all of them alike. The ratio
is the time of the torchvision pipeline over the time of the row in the same turn.

The rows end with normalised float batches in the memory of the main process. In training, the flip and the
normalisation (and the crop where the images come from a pack) are the device's work: here the main process does them,
and their time counts. Only the rows "up to the device" end before, with what would be sent to it.
"""

from __future__ import annotations

import dataclasses
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import torch
import tyro
from rich.console import Console

from benchmarks.loader_paths import CPU, Pass, Shape, Way, all_paths
from benchmarks.machine import describe_machine
from benchmarks.photos import write_photos
from benchmarks.table import Table

COLUMNS = ("path", "jitter", "workers", "images", "seconds", "images/s", "ratio")


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the benchmark."""

    images: int = 384
    """JPEG files; a pass shows as many of them as fill whole batches."""
    side: int = 500
    """Longer side of the photographs in pixels; the shorter has three quarters."""
    size: int = 224
    """Height and width of the images in a batch."""
    batch: int = 64
    """Images in a batch; all of them when there are fewer."""
    workers: int = 2
    """Processes of each loader; threads where the images come from a pack."""
    jitter: float = 0.4
    """Strength of the colour jitter in the rows that have it."""
    pack_size: int = 256
    """Short side of packed images in pixels."""
    repeats: int = 7
    """Timed passes of every way, after one that does not count."""
    seed: int = 0
    """Of the photographs and of all draws of ours."""
    markdown: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Also write the table to this file."""


def measure(options: Options, folder: Path) -> tuple[Table, list[str]]:
    """The table and the notes below it.

    Args:
        options: What is measured.
        folder: An empty folder, for the photographs and the pack.
    """
    file_bytes = write_photos(folder, options.images, side=options.side, seed=options.seed)
    batch = min(options.batch, options.images)
    shape = Shape(size=options.size, batch=batch, workers=options.workers, seed=options.seed)
    ways = all_paths(folder, shape, options.jitter, options.pack_size)
    for way in ways:
        timed(way.run)
    turns = [[timed(way.run) for way in ways] for _ in range(options.repeats)]
    table = Table(f"From JPEG files to batches of {batch} images of {options.size} pixels", COLUMNS)
    for number, way in enumerate(ways):
        seconds = [turn[number][0] for turn in turns]
        shown = turns[0][number][1]
        ratios = [turn[_baseline(ways, way)][0] / turn[number][0] for turn in turns]
        table.add(
            way.name,
            f"{way.jitter:g}" if way.jitter else "none",
            str(options.workers),
            str(shown),
            f"{statistics.median(seconds):.3f}",
            f"{shown / statistics.median(seconds):,.0f}",
            f"{statistics.median(ratios):.2f}",
        )
    return table, [
        f"{options.images} photographs of {options.side} x {options.side * 3 // 4} pixels, {file_bytes / 1000:.0f} kB "
        f"on average; median of {options.repeats} passes that take turns; the main process computes with "
        f"{torch.get_num_threads()} thread{'s'[: torch.get_num_threads() != 1]}",
        describe_machine(CPU),
        f"`python -m benchmarks.loader {' '.join(sys.argv[1:])}`",
    ]


def timed(run: Pass) -> tuple[float, int]:
    """Seconds of one pass, and how many images it showed."""
    began = time.perf_counter()
    shown = sum(run())
    return time.perf_counter() - began, shown


def _baseline(ways: list[Way], way: Way) -> int:
    return next(number for number, other in enumerate(ways) if other.baseline and other.jitter == way.jitter)


def main(options: Options) -> None:
    """Measures, prints and writes."""
    # The loaders' processes need the cores; several threads here would take turns with them at every operation.
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        table, notes = measure(options, Path(folder))
    console = Console()
    if not console.is_terminal:  # a file is as wide as the table
        console = Console(width=120)
    console.print(table.to_rich())
    for note in notes:
        console.print(note, highlight=False)
    if options.markdown is not None:
        options.markdown.write_text(table.to_markdown(notes), encoding="utf-8")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
