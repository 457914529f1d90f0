"""``tailwise data features``"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor

from tailwise.analysis.feature_scatter import feature_scatter
from tailwise.augment.feature_space import FeatureSpace
from tailwise.commands.options import checked
from tailwise.commands.picture import write_picture
from tailwise.core.errors import DataError, TailwiseError
from tailwise.core.rng import generator
from tailwise.data.images import decode
from tailwise.data.index import LongTailIndex
from tailwise.data.pool import Pool
from tailwise.data.rgb import UnreadableImage
from tailwise.engine.load import load_network
from tailwise.engine.prepare import open_splits
from tailwise.engine.recipe import Recipe
from tailwise.evaluation.feature_parts import feature_parts


@dataclasses.dataclass(frozen=True)
class FeaturesOptions:
    """Draw class-specific and class-generic parts of a finished run's features in the plane.

    Evaluation images are shown, so that small classes have as many points as large ones.
    """

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """The run's folder."""
    classes: int = 4
    """How many classes, spread evenly from the largest to the smallest."""
    images: int = 50
    """Most images of a class."""
    root: Path | None = None
    """Where the files of a downloaded data set, or the images of a list, lie."""
    seed: int = 0
    """Chooses the images and begins the embedding."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """The picture, PNG; RUN/features.png when not given."""


def run(arguments: Sequence[str]) -> int:
    """Draws the picture."""
    options = checked(lambda: tyro.cli(FeaturesOptions, prog="tailwise data features", args=list(arguments)))
    for name, value, least in (
        ("--classes", options.classes, 2),
        ("--images", options.images, 2),
        ("--seed", options.seed, 0),
    ):
        if value < least:
            raise TailwiseError(f"{name} must be at least {least}, got {value}")
    recipe, network, _ = load_network(options.run)
    splits = open_splits(recipe.data, options.root)
    index = LongTailIndex.load(options.run / "index.json", splits.train)
    order = index.stats.by_frequency
    chosen = order[np.unique(np.linspace(0, order.size - 1, options.classes).round().astype(int))]
    rng = generator(options.seed, "feature scatter")
    images, labels = _choose(splits.test, chosen, options.images, recipe.data.image_size, rng)
    try:
        parts = feature_parts(network, images, torch.from_numpy(labels), _thresholds(recipe))
    except (TailwiseError, NotImplementedError) as error:
        raise TailwiseError(f"this run has no class activation maps: {error}") from error
    figure = feature_scatter(
        {name: part.numpy() for name, part in parts.items()}, labels, index.class_names, seed=options.seed
    )
    out = options.out or options.run / "features.png"
    write_picture(figure, out)
    console = Console()
    console.print(f"{len(labels)} evaluation images of {len(chosen)} classes", highlight=False, soft_wrap=True)
    console.print(f"picture: {out}", highlight=False, soft_wrap=True)
    return 0


def _thresholds(recipe: Recipe) -> FeatureSpace:
    """Those of the recipe; the defaults where it fuses no features."""
    found = [stage.feature_aug for stage in recipe.stages if isinstance(stage.feature_aug, FeatureSpace)]
    return found[-1] if found else FeatureSpace()


def _choose(
    pool: Pool, classes: NDArray[np.int64], most: int, size: int, rng: np.random.Generator
) -> tuple[Tensor, NDArray[np.int64]]:
    """Readable images uint8 ``[B,3,S,S]`` of some classes, and their labels ``[B]``."""
    images: list[NDArray[np.uint8]] = []
    labels: list[int] = []
    for label in classes.tolist():
        for position in rng.permutation(np.flatnonzero(pool.labels == label))[:most].tolist():
            try:
                images.append(decode(pool, int(position), size))
            except UnreadableImage:
                continue
            labels.append(label)
    if len(set(labels)) < 2:
        raise DataError(f"fewer than two classes of {pool.source!r} have an evaluation image that can be read")
    return torch.from_numpy(np.stack(images)), np.array(labels, dtype=np.int64)
