"""``python -m benchmarks.reslt_head``: what residual branches cost beside a linear head, as ratios from one run.

A training step of ResNet-32 on images of 32 pixels (forward, loss, backward, optimiser; eager), and a forward pass of
ResNet-50 on images of 224 pixels in evaluation mode. The heads take turns, so that whatever else the machine does
meets all; a ratio is the median over the rounds. Times on a processor are those that the process computed, not those
that passed, so that other programs disturb less.
"""

from __future__ import annotations

import dataclasses
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import tyro
from rich.console import Console
from torch import nn

from benchmarks.machine import describe_machine
from benchmarks.table import Table
from tailwise.core.stats import ClassStats
from tailwise.engine.optim import make_optimizer
from tailwise.engine.recipe import Recipe
from tailwise.engine.task import Task
from tailwise.heads import ResLT
from tailwise.models.backbone import build_backbone
from tailwise.recipes.base import base_recipe, make_recipe

COUNTS = (5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50)


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the benchmark."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    steps: int = 40
    """Pairs of training steps."""
    forwards: int = 20
    """Pairs of forward passes of ResNet-50."""
    warmup: int = 3
    """Pairs before them that do not count."""
    batch: int = 128
    """Images of a training step."""
    forward_batch: int = 8
    """Images of a forward pass of ResNet-50."""
    forward_size: int = 224
    """Height and width of its images."""
    width: float = 1.0
    """Width of ResNet-32."""
    markdown: Path | None = None
    """Also write the table here."""


def main() -> None:
    """Measures the ratios and prints the table."""
    options = tyro.cli(Options, description=__doc__)
    use_cuda = torch.cuda.is_available() and options.device != "cpu"
    device = torch.device("cuda" if use_cuda else "cpu")
    table = Table(
        title="Residual branches beside a linear head",
        columns=("", "pairs", "linear ms", "linear twin ms", "branches ms", "ratio", "quartiles", "twin ratio"),
    )
    steps = [_step(options, name, device) for name in ("ce-reslt-settings", "ce-reslt-settings", "reslt")]
    title = f"ResNet-32 (width {options.width:g}), training step, batch {options.batch}"
    _add(table, title, _taking_turns(steps, options.warmup, options.steps, device))
    forwards = _forwards(options, device)
    title = f"ResNet-50, forward pass, batch {options.forward_batch} of {options.forward_size} pixels"
    _add(table, f"{title}, BatchNorm branches", _taking_turns(forwards[:3], options.warmup, options.forwards, device))
    turns = _taking_turns([*forwards[:2], forwards[3]], options.warmup, options.forwards, device)
    _add(table, f"{title}, convolution branches", turns)
    turns = _taking_turns([*forwards[:2], forwards[4]], options.warmup, options.forwards, device)
    _add(table, f"{title}, BatchNorm branches folded", turns)
    console = Console()
    console.print(table.to_rich())
    console.print(describe_machine(device), highlight=False)
    if options.markdown is not None:
        notes = [
            "The twin is a second linear head, so its ratio shows what the measurement itself is worth; eager, fp32, "
            f"threads: {torch.get_num_threads()}{'' if use_cuda else '; processor time'}",
            describe_machine(device),
            f"`python -m benchmarks.reslt_head {' '.join(sys.argv[1:])}`",
        ]
        options.markdown.write_text(table.to_markdown(notes))


def _step(options: Options, name: str, device: torch.device) -> Callable[[], None]:
    """A training step on images that stay the same."""
    recipe = _recipe(options, name)
    torch.manual_seed(0)
    task = Task(recipe, ClassStats(COUNTS)).to(device)
    (stage,) = recipe.stages
    assert stage.optim is not None
    task.enter(stage)
    task.to(device)
    optimizer = make_optimizer(stage.optim, task.network.parameters())
    rng = np.random.default_rng(0)
    labels = rng.choice(len(COUNTS), options.batch, p=np.array(COUNTS) / sum(COUNTS))
    stream = {
        "image": rng.integers(0, 256, (options.batch, 3, 32, 32), dtype=np.uint8),
        "label": labels,
        "crop": rng.integers(0, 9, (options.batch, 2)),
        "flip": rng.random(options.batch) < 0.5,
    }
    batch = {"main": {key: torch.from_numpy(np.asarray(value)).to(device) for key, value in stream.items()}}

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        task(batch)["loss"].backward()
        optimizer.step()

    return step


def _recipe(options: Options, name: str) -> Recipe:
    recipe = make_recipe(name, base_recipe("cifar10"))
    return dataclasses.replace(recipe, backbone=dataclasses.replace(recipe.backbone, width=options.width))


def _forwards(options: Options, device: torch.device) -> list[Callable[[], None]]:
    """Forward passes of one ResNet-50 with five heads: linear, linear, two kinds of branches, folded ones."""
    torch.manual_seed(0)
    backbone: Any = build_backbone("resnet50").eval().to(device)
    size, width = options.forward_size, int(backbone.num_features)
    image = torch.randn(options.forward_batch, 3, size, size, device=device)
    branched = ResLT().build(width, 1000)
    heads: list[nn.Module] = [
        branched.fold(),
        branched.fold(),
        branched,
        ResLT(branch="conv_bn_relu", pool="before").build(width, 1000),
        branched.fold(),
    ]

    def forward(head: nn.Module) -> Callable[[], None]:
        head = head.eval().to(device)

        def run() -> None:
            with torch.no_grad():
                head(backbone.forward_features(image))

        return run

    return [forward(head) for head in heads]


def _taking_turns(
    calls: list[Callable[[], None]], warmup: int, pairs: int, device: torch.device
) -> list[tuple[float, ...]]:
    """Seconds of every call in each round, without the first rounds; who begins changes from round to round."""
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    rounds: list[tuple[float, ...]] = []
    for number in range(warmup + pairs):
        seconds = [0.0] * len(calls)
        for place in range(len(calls)):
            which = (place + number) % len(calls)
            begun = clock()
            calls[which]()
            if device.type == "cuda":
                torch.cuda.synchronize()
            seconds[which] = clock() - begun
        rounds.append(tuple(seconds))
    return rounds[warmup:]


def _add(table: Table, title: str, rounds: list[tuple[float, ...]]) -> None:
    ratios = sorted(branches / linear for linear, _, branches in rounds)
    twins = [twin / linear for linear, twin, _ in rounds]
    low, high = np.quantile(ratios, (0.25, 0.75))
    times = [f"{1000 * statistics.median(column):.2f}" for column in zip(*rounds, strict=True)]
    table.add(
        title,
        str(len(rounds)),
        *times,
        f"{statistics.median(ratios):.4f}",
        f"{low:.4f} to {high:.4f}",
        f"{statistics.median(twins):.4f}",
    )


if __name__ == "__main__":
    main()
