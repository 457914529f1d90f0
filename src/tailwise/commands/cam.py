"""``tailwise data cam``"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, cast

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor
from torch.nn import functional

from tailwise.analysis.cam_sheet import SheetRow, cam_sheet
from tailwise.augment.cam_compose import CamCompose
from tailwise.augment.cam_transform import CamTransform
from tailwise.augment.cam_warp import TRANSFORMS
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
from tailwise.evaluation.shots import GROUPS, shot_groups
from tailwise.models.cam import class_activation_maps
from tailwise.models.network import Network


@dataclasses.dataclass(frozen=True)
class CamOptions:
    """Draw the class activation maps of some training images of a run, and the images that its recipe makes of them.

    The maps are those that the finished network gives of the whole images.
    """

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """The run's folder."""
    images: int = 9
    """How many images, a third each of many-, medium- and few-shot classes."""
    root: Path | None = None
    """Where the files of a downloaded data set, or the images of a list, lie."""
    seed: int = 0
    """Chooses the images and how far they are moved."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """The picture, PNG; RUN/cam.png when not given."""


def run(arguments: Sequence[str]) -> int:
    """Draws the sheet."""
    options = checked(lambda: tyro.cli(CamOptions, prog="tailwise data cam", args=list(arguments)))
    for name, value, least in (("--images", options.images, 1), ("--seed", options.seed, 0)):
        if value < least:
            raise TailwiseError(f"{name} must be at least {least}, got {value}")
    recipe, network, result = load_network(options.run)
    splits = open_splits(recipe.data, options.root)
    index = LongTailIndex.load(options.run / "index.json", splits.train)
    groups = shot_groups(recipe.evaluate.shots, index.counts)
    rng = generator(options.seed, "cam sheet")
    rows, images = _choose(index, splits.train, groups, options.images, recipe.data.image_size, rng)
    labels = index.labels[rows]
    generate, maps = _generate(recipe), _maps(network, images, labels)
    name = recipe.data.name if recipe.data.location is None else Path(recipe.data.location).stem
    what = "the whole image is transformed"
    if generate.needs_maps:
        times = "" if generate.threshold == 1 else f"{generate.threshold:g} times "
        what = f"foreground where the map exceeds {times}its mean"
    sheet = cam_sheet(_rows(generate, images, maps, labels, index, groups, rng), f"{recipe.name} on {name}: {what}")
    out = options.out or options.run / "cam.png"
    write_picture(sheet, out)
    console = Console()
    top1 = float(result.last["top1"])
    console.print(
        f"{len(rows)} training images, maps of a network with {top1:.1f} % top-1 accuracy",
        highlight=False,
        soft_wrap=True,
    )
    console.print(f"picture: {out}", highlight=False, soft_wrap=True)
    return 0


def _generate(recipe: Recipe) -> CamTransform:
    """What the recipe generates images by; the paper's settings where it does not."""
    for stage in recipe.stages:
        for stream in stage.streams.values():
            if isinstance(stream.generate, CamTransform):
                return stream.generate
    return CamTransform()


def _choose(
    index: LongTailIndex,
    pool: Pool,
    groups: dict[str, NDArray[np.bool_]],
    number: int,
    size: int,
    rng: np.random.Generator,
) -> tuple[NDArray[np.int64], Tensor]:
    """Rows of the index from head to tail, spread over the shot groups, and the images uint8 ``[B,3,S,S]``."""
    order = index.stats.by_frequency
    members = [order[groups[group][order]] for group in GROUPS]
    members = [classes for classes in members if classes.size]
    rows: list[int] = []
    images: list[NDArray[np.uint8]] = []
    for part, classes in enumerate(members):
        share = number * (part + 1) // len(members) - number * part // len(members)
        for label in classes[np.linspace(0, classes.size - 1, share).round().astype(int)]:
            candidates = np.setdiff1d(np.flatnonzero(index.labels == label), rows)
            for row in rng.permutation(candidates)[:20].tolist():
                try:
                    images.append(decode(pool, int(index.positions[row]), size))
                except UnreadableImage:
                    continue
                rows.append(row)
                break
    if not rows:
        raise DataError(f"none of the training images of {pool.source!r} that were tried can be read")
    return np.array(rows, dtype=np.int64), torch.from_numpy(np.stack(images))


def _maps(network: Network, images: Tensor, labels: NDArray[np.int64]) -> Tensor:
    with torch.no_grad():
        weight = network.head.classifier_weight
        try:
            return class_activation_maps(network.maps(network.pixel(images)), weight, torch.from_numpy(labels)).half()
        except TailwiseError as error:
            raise TailwiseError(f"this run has no class activation maps: {error}") from error


def _rows(
    generate: CamTransform,
    images: Tensor,
    maps: Tensor,
    labels: NDArray[np.int64],
    index: LongTailIndex,
    groups: dict[str, NDArray[np.bool_]],
    rng: np.random.Generator,
) -> list[SheetRow]:
    compose: CamCompose = generate.bind()
    compose.maps = maps
    count, size = len(images), images.shape[-1]
    place = torch.arange(count)
    composed: dict[str, NDArray[np.uint8]] = {}
    for name in generate.transforms:
        amount = torch.from_numpy(rng.random((count, 2), dtype=np.float32))
        kind = torch.full((count,), TRANSFORMS[name])
        composed[name] = compose({"image": images, "index": place, "transform": kind, "amount": amount}).numpy()
    mask = compose.mask(place, size).numpy()
    level = functional.interpolate(maps.float()[:, None], (size, size), mode="bilinear", align_corners=False)[:, 0]
    named = {
        label: next((group for group in GROUPS if groups[group][label]), "in no group")
        for label in set(labels.tolist())
    }
    return [
        SheetRow(
            index.class_names[label],
            (named[label], f"{index.counts[label]:,} images"),
            images[row].numpy(),
            level[row].numpy(),
            mask[row],
            {name: cast("NDArray[np.uint8]", values[row]) for name, values in composed.items()},
        )
        for row, label in enumerate(labels.tolist())
    ]
