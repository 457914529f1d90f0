"""``tailwise evaluate``"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import numpy as np
import torch
import tyro
from rich.console import Console
from rich.table import Table

from tailwise.commands.options import checked
from tailwise.core.errors import DataError, UnknownName
from tailwise.core.spec import from_plain
from tailwise.core.stats import ClassStats
from tailwise.data.images import find_unreadable
from tailwise.data.index import LongTailIndex, Pool
from tailwise.data.lists import read_list
from tailwise.data.open import guess_source, open_data
from tailwise.data.pack import PackedImages
from tailwise.engine.features import features_of
from tailwise.engine.load import load_network
from tailwise.engine.packed import open_for
from tailwise.engine.prepare import open_splits
from tailwise.engine.recipe import Recipe
from tailwise.engine.run_folder import write_file
from tailwise.engine.runtime import Runtime
from tailwise.engine.sources import make_evaluation_split
from tailwise.evaluation.evaluate import evaluate_heads
from tailwise.evaluation.matrix import matrix_to_plain
from tailwise.evaluation.metrics import branch_records, summarise
from tailwise.evaluation.shots import SHOT_PROTOCOLS
from tailwise.models.network import Network
from tailwise.posthoc.base import PostHoc, TrainingFeatures


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
    posthoc: Annotated[tuple[str, ...], tyro.conf.arg(metavar="CHANGE")] = ()
    """Changes of the classifier to measure beside it: "tau_norm(tau=0.7)" ncm (`tailwise list posthocs`)."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Where the measures go as JSON; RUN/evaluation-<data>.json when not given."""


def run(arguments: Sequence[str]) -> int:
    """Evaluates and prints the measures."""
    options = checked(lambda: tyro.cli(EvaluateOptions, prog="tailwise evaluate", args=list(arguments)))
    if options.shots is not None and options.shots not in SHOT_PROTOCOLS:
        raise UnknownName("shot protocol", options.shots, SHOT_PROTOCOLS)
    changes = {change.label: change for text in options.posthoc for change in [from_plain(PostHoc, text, "--posthoc")]}
    recipe, network, result = load_network(options.run)
    for change in changes.values():
        change.check(network.head)
    pool, packed = images_to_measure(options, recipe, tuple(result.class_names))
    console = Console()
    on_gpu = options.device != "cpu" and torch.cuda.is_available()
    # fp16 is for GPUs; a CPU measures the same weights in float32.
    runtime = Runtime(options.device, recipe.precision if on_gpu or recipe.precision != "fp16" else "fp32")
    positions = np.arange(len(pool), dtype=np.int64)
    bad = packed.unreadable if packed else find_unreadable(pool, positions, max(1, recipe.data.workers))
    if bad:
        names = ", ".join(pool.name_of(position) for position in list(bad)[:5])
        console.print(f"going on without {len(bad)} images that cannot be read: {names}", highlight=False, markup=False)
    readable = positions[~np.isin(positions, list(bad))]
    split = make_evaluation_split(recipe, pool, packed, readable, runtime)
    network.to(runtime.device)
    stats, shots = ClassStats(result.class_counts), options.shots or recipe.evaluate.shots
    reads = any(change.needs_features for change in changes.values())
    features = _features(options, recipe, network, runtime) if reads else None
    heads = {label: change.apply(network.head, stats, features) for label, change in changes.items()}
    measured, others, branches = evaluate_heads(network, heads, split, stats.num_classes, runtime, runtime.device)
    summary = summarise(measured, stats.counts, shots)
    changed = {label: summarise(other, stats.counts, shots) for label, other in others.items()}
    name = Path(options.data).name if options.data else recipe.data.name
    out = options.out or options.run / f"evaluation-{name}.json"
    content: dict[str, Any] = {
        "run": str(options.run),
        "recipe_hash": result.recipe_hash,
        "images": measured.num_images,
        **summary,
        "confusion": matrix_to_plain(measured.confusion),
        **({"branches": branch_records(branches, stats.counts, shots)} if branches else {}),
        "posthoc": {
            label: {**record, "confusion": matrix_to_plain(others[label].confusion)}
            for label, record in changed.items()
        },
    }
    write_file(out, json.dumps(content, indent=1) + "\n")
    console.print(_table(summary, f"{recipe.name} on {name}, {measured.num_images} images"))
    if changed:
        console.print(_changes({"as trained": summary, **changed}))
    console.print(f"measures: {out}", highlight=False, soft_wrap=True)
    return 0


class Where(Protocol):
    """Which images a command measures."""

    @property
    def data(self) -> str | None:
        """Another data set, folder or list file than the run's own."""
        ...

    @property
    def root(self) -> Path | None:
        """Where its files lie."""
        ...

    @property
    def eval_split(self) -> str:
        """The split of a folder."""
        ...


def images_to_measure(options: Where, recipe: Recipe, class_names: tuple[str, ...]) -> tuple[Pool, PackedImages | None]:
    """The images to measure, and the pack that the run read them from where its pixels are not those of the files.

    Raises:
        DataError: Something is wrong with the data, or their classes are not those of the run.
    """
    pool, packed = _open(options, recipe, class_names)
    if pool.class_names != class_names:
        extra = sorted(set(pool.class_names) ^ set(class_names))
        raise DataError(
            f"the run knows {len(class_names)} classes, the data have {len(pool.class_names)}; "
            f"in one of them only: {', '.join(extra[:8]) or 'none, but the order differs'}"
        )
    return pool, packed


def _open(options: Where, recipe: Recipe, class_names: tuple[str, ...]) -> tuple[Pool, PackedImages | None]:
    if options.data is None:
        splits = open_splits(recipe.data, options.root)
        pack = None if recipe.data.pixels is None else open_for(recipe.data, splits)
        return splits.test, None if pack is None else pack.eval
    name, location = guess_source(options.data)
    if name == "list" and location is not None:
        return read_list(location, options.root or location.parent, "test", class_names), None
    return open_data(name, location=location, root=options.root, eval_split=options.eval_split).test, None


def _features(options: EvaluateOptions, recipe: Recipe, network: Network, runtime: Runtime) -> TrainingFeatures:
    """Features of the images that the run was trained on, whatever is evaluated."""
    splits = open_splits(recipe.data, options.root if options.data is None else None)
    pack = None if recipe.data.pixels is None else open_for(recipe.data, splits)
    index = LongTailIndex.load(options.run / "index.json", splits.train)
    return features_of(network, recipe, splits.train, None if pack is None else pack.train, index, runtime)


def _changes(summaries: Mapping[str, Mapping[str, Any]]) -> Table:
    """A row for the network as it was trained and for each change of its classifier."""
    table = Table(title="changes of the classifier", title_justify="left")
    table.add_column("classifier", min_width=max(map(len, summaries)))
    groups = list(next(iter(summaries.values()))["groups"])
    for name in ("top-1", *groups, "harmonic mean", "worst class", "ECE"):
        table.add_column(f"{name} (%)", justify="right")
    table.add_column("NLL (nats)", justify="right")
    for label, summary in summaries.items():
        accuracies = [summary["groups"][group]["accuracy"] for group in groups]
        measures = [summary[name] for name in ("harmonic_mean", "worst_class", "ece")]
        cells = ["-" if value is None else f"{value:.2f}" for value in (summary["top1"], *accuracies, *measures)]
        table.add_row(label, *cells, "-" if summary["nll"] is None else f"{summary['nll']:.3f}")
    return table


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
