"""``tailwise evaluate``"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from tailwise.commands.options import checked
from tailwise.core.errors import DataError, UnknownName
from tailwise.data.images import find_unreadable
from tailwise.data.index import Pool
from tailwise.data.lists import read_list
from tailwise.data.open import guess_source, open_data
from tailwise.data.pack import PackedImages
from tailwise.engine.load import load_network
from tailwise.engine.packed import open_for
from tailwise.engine.prepare import open_splits
from tailwise.engine.recipe import Recipe
from tailwise.engine.run_folder import write_file
from tailwise.engine.runtime import Runtime
from tailwise.evaluation.evaluate import EvaluationSplit, evaluate
from tailwise.evaluation.matrix import matrix_to_plain
from tailwise.evaluation.metrics import summarise
from tailwise.evaluation.packed import PackedSplit
from tailwise.evaluation.shots import SHOT_PROTOCOLS


@dataclasses.dataclass(frozen=True)
class EvaluateOptions:
    """Measure a finished run on its own evaluation split, or on other images of the same classes."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """The run's folder."""
    data: Annotated[str | None, tyro.conf.arg(metavar="NAME|PATH")] = None
    """Another data set or folder, whose evaluation split is used, or a list file of the images to evaluate."""
    root: Path | None = None
    """Where the files of a downloaded data set, or the images of a list, lie."""
    eval_split: Literal["auto", "val", "test"] = "auto"
    """The split of a folder; auto: test where there is one, else val."""
    shots: str | None = None
    """Another named rule for many, medium and few shot."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Where the measures go as JSON; RUN/evaluation-<data>.json when not given."""


def run(arguments: Sequence[str]) -> int:
    """Evaluates and prints the measures."""
    options = checked(lambda: tyro.cli(EvaluateOptions, prog="tailwise evaluate", args=list(arguments)))
    if options.shots is not None and options.shots not in SHOT_PROTOCOLS:
        raise UnknownName("shot protocol", options.shots, SHOT_PROTOCOLS)
    recipe, network, result = load_network(options.run)
    pool, packed = _pool(options, recipe, tuple(result.class_names))
    if pool.class_names != tuple(result.class_names):
        extra = sorted(set(pool.class_names) ^ set(result.class_names))
        raise DataError(
            f"the run knows {len(result.class_names)} classes, the data have {len(pool.class_names)}; "
            f"in one of them only: {', '.join(extra[:8]) or 'none, but the order differs'}"
        )
    console = Console()
    runtime = Runtime(options.device, recipe.precision)
    positions = np.arange(len(pool), dtype=np.int64)
    bad = packed.unreadable if packed else find_unreadable(pool, positions, max(1, recipe.data.workers))
    if bad:
        names = ", ".join(pool.name_of(position) for position in list(bad)[:5])
        console.print(f"going on without {len(bad)} images that cannot be read: {names}", highlight=False, markup=False)
    readable = positions[~np.isin(positions, list(bad))]
    batch, workers = recipe.evaluate.batch, recipe.data.workers
    settings = {"size": recipe.data.image_size, "zoom": recipe.data.eval_zoom, "batch": batch, "workers": workers}
    split = (
        EvaluationSplit(pool, readable, None, device=runtime.device, **settings)
        if packed is None
        else PackedSplit(packed, pool, readable, device=runtime.device, **settings)
    )
    network.to(runtime.device)
    measured = evaluate(network, split, len(pool.class_names), runtime, runtime.device)
    summary = summarise(measured, np.asarray(result.class_counts), options.shots or recipe.evaluate.shots)
    name = Path(options.data).name if options.data else recipe.data.name
    out = options.out or options.run / f"evaluation-{name}.json"
    content = {"run": str(options.run), "recipe_hash": result.recipe_hash, "images": measured.num_images, **summary}
    write_file(out, json.dumps({**content, "confusion": matrix_to_plain(measured.confusion)}, indent=1) + "\n")
    console.print(_table(summary, f"{recipe.name} on {name}, {measured.num_images} images"))
    console.print(f"measures: {out}", highlight=False, soft_wrap=True)
    return 0


def _pool(options: EvaluateOptions, recipe: Recipe, class_names: tuple[str, ...]) -> tuple[Pool, PackedImages | None]:
    """The images to measure, and the pack that the run read them from where its pixels are not those of the files."""
    if options.data is None:
        root = recipe.data.root if options.root is None else str(options.root)
        splits = open_splits(dataclasses.replace(recipe.data, root=root))
        pack = None if recipe.data.pixels is None else open_for(recipe.data, splits)
        return splits.test, None if pack is None else pack.eval
    name, location = guess_source(options.data)
    if name == "list" and location is not None:
        return read_list(location, options.root or location.parent, "test", class_names), None
    return open_data(name, location=location, root=options.root, eval_split=options.eval_split).test, None


def _table(summary: dict[str, object], title: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("measure")
    table.add_column("value", justify="right")
    units = {"nll": "nats"}
    for name in ("top1", "top5", "balanced_accuracy", "harmonic_mean", "geometric_mean", "worst_class", "ece", "nll"):
        value = summary[name]
        table.add_row(name, "-" if value is None else f"{value:.2f} {units.get(name, '%')}")
    groups = summary["groups"]
    if isinstance(groups, dict):
        for name, group in groups.items():
            accuracy = "-" if group["accuracy"] is None else f"{group['accuracy']:.2f} %"
            table.add_row(f"{name} ({group['classes']} classes)", accuracy)
    return table
