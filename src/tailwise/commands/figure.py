"""``tailwise figure``"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
import tyro
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.console import Console

from tailwise.analysis.class_losses import class_loss_curves
from tailwise.analysis.gain_bars import gains_over
from tailwise.analysis.tsne import PER_CLASS, PER_GROUP, chosen_classes, chosen_images, embedding, tsne
from tailwise.analysis.weight_norms import vector_lengths, weight_norms
from tailwise.commands.options import checked
from tailwise.commands.picture import write_picture
from tailwise.commands.report import grouped_results
from tailwise.core.errors import DataError, TailwiseError
from tailwise.data.images import find_unreadable
from tailwise.engine.load import load_network
from tailwise.engine.packed import open_for
from tailwise.engine.prepare import open_splits
from tailwise.engine.runtime import Runtime
from tailwise.engine.sources import make_evaluation_split
from tailwise.evaluation.features import pooled_features
from tailwise.report.ledger import Result
from tailwise.report.table import check_comparable

Groups = Mapping[str, Sequence[Result]]


@dataclasses.dataclass(frozen=True)
class FigureOptions:
    """Draw a figure from finished runs; runs of one recipe are put together over their seeds.

    gains: class accuracy of the last recipe minus that of each other one. weight-norms: length of the class vectors.
    class-losses: training loss of the smallest and the largest class (of runs with --class-losses). tsne: features of
    some classes of the evaluation images, first seed of each recipe.
    """

    kind: Annotated[Literal["gains", "weight-norms", "class-losses", "tsne"], tyro.conf.Positional]
    """Which figure."""
    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN...")]
    """Run folders, or folders that hold some, in the order of the figure."""
    classes: tuple[str, ...] = ()
    """Names of the classes of class-losses; the smallest and the largest when not given."""
    per_group: int = PER_GROUP
    """Classes from each shot group, for tsne."""
    per_class: int = PER_CLASS
    """Images of each class, for tsne."""
    seed: int = 0
    """Of the map, for tsne."""
    root: Path | None = None
    """Where the files of a downloaded data set, or the images of a list, lie, for tsne."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """The picture (.png, .svg, .pdf); <kind>.png in the current folder when not given."""


def run(arguments: Sequence[str]) -> int:
    """Draws and writes the figure."""
    options = checked(lambda: tyro.cli(FigureOptions, prog="tailwise figure", args=list(arguments)))
    for name, value, least in (("--per-group", options.per_group, 1), ("--per-class", options.per_class, 1)):
        if value < least:
            raise TailwiseError(f"{name} must be at least {least}, got {value}")
    groups = grouped_results(options.runs)
    check_comparable(groups)
    draw = {"gains": _gains, "weight-norms": _weight_norms, "class-losses": _class_losses, "tsne": _tsne}
    figure = draw[options.kind](groups, options)
    out = options.out or Path(f"{options.kind}.png")
    write_picture(figure, out)
    Console().print(f"picture: {out}", highlight=False, soft_wrap=True)
    return 0


def _gains(groups: Groups, options: FigureOptions) -> Figure:
    if len(groups) < 2:
        raise DataError(f"gains compare the last recipe with the others, and there is only {next(iter(groups))}")
    means = {name: _mean_per_class(results) for name, results in groups.items()}
    *_, last = means
    first = groups[last][0]
    return gains_over(
        means.pop(last),
        means,
        first.class_counts,
        name=last,
        class_names=first.class_names,
        shots=first.shots,
    )


def _mean_per_class(results: Sequence[Result]) -> list[float | None]:
    mean = np.stack([result.per_class for result in results]).mean(axis=0)
    return [float(value) if np.isfinite(value) else None for value in mean]


def _weight_norms(groups: Groups, options: FigureOptions) -> Figure:
    lengths: dict[str, NDArray[np.float64]] = {}
    for name, results in groups.items():
        heads = [load_network(result.folder)[1].head for result in results]
        lengths[name] = np.mean([vector_lengths(head.classifier_weight.detach()) for head in heads], axis=0)
    first = next(iter(groups.values()))[0]
    return weight_norms(lengths, first.class_counts, class_names=first.class_names, shots=first.shots)


def _class_losses(groups: Groups, options: FigureOptions) -> Figure:
    first = next(iter(groups.values()))[0]
    unknown = [name for name in options.classes if name not in first.class_names]
    if unknown:
        raise DataError(f"no class {unknown[0]!r}; the runs have {', '.join(first.class_names[:8])}, ...")
    labels = [first.class_names.index(name) for name in options.classes] or None
    histories = {name: [result.metrics() for result in results] for name, results in groups.items()}
    return class_loss_curves(histories, first.class_counts, labels=labels, class_names=first.class_names)


def _tsne(groups: Groups, options: FigureOptions) -> Figure:
    first = next(iter(groups.values()))[0]
    classes = chosen_classes(first.class_counts, first.shots, options.per_group)
    wanted = [label for labels in classes.values() for label in labels]
    maps: dict[str, tuple[NDArray[np.float64], NDArray[np.int64]]] = {}
    for name, results in groups.items():
        features, labels = _features(results[0], wanted, options)
        maps[name] = embedding(features, seed=options.seed), labels
    return tsne(maps, classes, class_names=first.class_names)


def _features(
    result: Result, classes: Sequence[int], options: FigureOptions
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """What the classifier reads of the first images of some classes of the run's evaluation split, and their labels."""
    recipe, network, _ = load_network(result.folder)
    splits = open_splits(recipe.data, options.root)
    pack = None if recipe.data.pixels is None else open_for(recipe.data, splits)
    positions = chosen_images(np.asarray(splits.test.labels), classes, options.per_class)
    threads = max(1, recipe.data.workers)
    bad = find_unreadable(splits.test, positions, threads) if pack is None else pack.eval.unreadable
    positions = positions[~np.isin(positions, list(bad))]
    runtime = Runtime("auto", recipe.precision if recipe.precision != "fp16" else "fp32")
    split = make_evaluation_split(recipe, splits.test, None if pack is None else pack.eval, positions, runtime)
    network.to(runtime.device)
    pooled, labels = pooled_features(network, split, len(positions), runtime)
    with torch.no_grad():
        features = network.head.embed(pooled)
    return features.float().cpu().numpy(), labels.cpu().numpy()
