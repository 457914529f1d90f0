"""``python -m benchmarks.feature_space``: a step of Phase II against a plain balanced fine-tuning step of one batch.

All rows are measured in one run of this program on made-up images of the size of CIFAR's, with a frozen backbone and a
trained classifier. The ways take turns, and a row gives medians over the turns. The ratio is the time of the row over
that of balanced fine-tuning (the same number of images of head and tail classes, nothing fused) in the same turn, where
both run the backbone or both read features that were computed before.
"""

from __future__ import annotations

import dataclasses
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console

from benchmarks.machine import describe_machine
from benchmarks.table import Table
from tailwise import load_recipe
from tailwise.engine.execute import choose_executor
from tailwise.engine.prepare import prepare
from tailwise.engine.recipe import Recipe
from tailwise.engine.run_folder import RunFolder
from tailwise.engine.runtime import Runtime
from tailwise.engine.sources import make_source, make_split
from tailwise.engine.training import Training
from tailwise.recipes.base import replace_stage
from tailwise.recipes.feature_space import feature_space

COLUMNS = ("step", "executor", "ms a step", "ratio")


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the benchmark."""

    backbone: str = "resnet32"
    width: float = 1.0
    size: int = 32
    """Height and width of the images."""
    tail_images: int = 16
    """N_t; a step has eight times as many samples."""
    steps: int = 20
    """Steps of every way in a turn."""
    repeats: int = 7
    """Timed turns, after one that does not count."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["fp32", "bf16"] = "fp32"
    markdown: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Also write the table to this file."""


class Way:
    """One way of running steps, standing at the beginning of Phase II of an untrained network.

    Args:
        name: Of its row.
        recipe: With two stages.
        runtime: Device and precision.
        folder: For what a stage writes.
    """

    def __init__(self, name: str, recipe: Recipe, runtime: Runtime, folder: Path) -> None:
        folder.mkdir(parents=True)
        prepared = prepare(recipe.data, runtime.device, lambda line: None)
        source, split = make_source(recipe, prepared, runtime), make_split(recipe, prepared, runtime)
        self.name, self.runtime = name, runtime
        self.training = Training(recipe, prepared, source, split, runtime, RunFolder(folder))
        self.training.stage_number = 1
        self.training.enter()
        self.executor = choose_executor([self.training], runtime, lambda line: None)

    def turn(self) -> float:
        """Seconds of an epoch's steps, its plan not counted."""
        work = [self.training.begin_epoch()]
        self.executor.prepare(work)
        self.runtime.synchronize()
        began = time.perf_counter()
        for _ in self.executor.steps(work):
            pass
        self.runtime.synchronize()
        return time.perf_counter() - began


def ways(options: Options, runtime: Runtime, folder: Path) -> list[Way]:
    """Balanced fine-tuning and fusion, with images and with features."""
    base = load_recipe("ce", data="synthetic", epochs=1)
    base = dataclasses.replace(
        base,
        data=dataclasses.replace(base.data, image_size=options.size, imbalance_factor=10.0),
        backbone=dataclasses.replace(base.backbone, name=options.backbone, width=options.width),
        precision=options.precision,
    )
    found: list[Way] = []
    plain = feature_space(base, augment=None, tail_images=options.tail_images, steps=options.steps)
    fused = feature_space(base, tail_images=options.tail_images, steps=options.steps)
    for features, where in (("images", "images"), ("auto", "features")):
        for name, recipe in (("balanced fine-tuning", plain), ("feature space augmentation", fused)):
            recipe = replace_stage(recipe, 1, steps_per_epoch=options.steps)
            recipe = dataclasses.replace(recipe, run=dataclasses.replace(recipe.run, features=features))
            found.append(Way(f"{name}, {where}", recipe, runtime, folder / str(len(found))))
    return found


def measure(options: Options, folder: Path) -> tuple[Table, list[str]]:
    """The table and the notes below it."""
    runtime = Runtime(options.device, options.precision)
    every = ways(options, runtime, folder)
    for way in every:
        way.turn()
    turns = [[way.turn() for way in every] for _ in range(options.repeats)]
    title = f"A step of {8 * options.tail_images} samples of {options.size} x {options.size} pixels, {options.backbone}"
    table = Table(title, COLUMNS)
    for number, way in enumerate(every):
        baseline = number - number % 2
        seconds = statistics.median(turn[number] for turn in turns)
        ratio = statistics.median(turn[number] / turn[baseline] for turn in turns)
        table.add(way.name, way.executor.kind, f"{1000 * seconds / options.steps:.3f}", f"{ratio:.2f}")
    return table, [
        f"{options.precision}; median of {options.repeats} turns of {options.steps} steps",
        describe_machine(runtime.device),
        f"`python -m benchmarks.feature_space {' '.join(sys.argv[1:])}`",
    ]


def main(options: Options) -> None:
    """Measures, prints and writes."""
    with tempfile.TemporaryDirectory() as folder:
        table, notes = measure(options, Path(folder))
    console = Console()
    console.print(table.to_rich())
    for note in notes:
        console.print(note, highlight=False)
    if options.markdown is not None:
        options.markdown.write_text(table.to_markdown(notes), encoding="utf-8")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
