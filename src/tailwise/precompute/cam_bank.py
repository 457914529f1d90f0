"""Class activation maps of all training images, computed when a stage that needs them begins (zhang2021bag, Fig. 1)."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tailwise.augment.base import BoundGenerate
from tailwise.core.errors import RunError, TailwiseError
from tailwise.core.rng import generator
from tailwise.data.source import BatchSource
from tailwise.engine.checkpoint import load_weights, save_weights
from tailwise.engine.prepare import Prepared
from tailwise.engine.recipe import Recipe, Stage
from tailwise.engine.runtime import Runtime
from tailwise.evaluation.evaluate import measuring
from tailwise.models.cam import check_maps, class_activation_maps
from tailwise.models.network import Network
from tailwise.precompute.plain_plan import plain_plan


class CamBank:
    """The maps of one run, at the size of the network's feature maps, in float16.

    A stage that generates images computes them with the network as it is when the stage begins, and saves them as
    ``stage<number>-cam.safetensors`` in the run's folder, so that a resumed run uses the very same. A stage that
    generates in the same streams as the one before it keeps the maps of that stage.

    Args:
        recipe: The run's recipe.
        prepared: Its images.
        source: Its training batches.
        runtime: Device, precision, processes.
        folder: The run's folder.
    """

    def __init__(self, recipe: Recipe, prepared: Prepared, source: BatchSource, runtime: Runtime, folder: Path) -> None:
        self.recipe, self.prepared, self.source, self.runtime, self.folder = recipe, prepared, source, runtime, folder

    def check(self, network: Network) -> None:
        """Refuses a recipe that could not generate its images, before anything is trained.

        Args:
            network: The run's network; a copy without data is run.

        Raises:
            TailwiseError: No trained classifier before the stage, no feature maps, a head without class vectors, or
                images that reach the network cropped already.
        """
        data, stages = self.recipe.data, self.recipe.stages
        for number, stage in enumerate(stages):
            if not any(stream.generate is not None for stream in stage.streams.values()):
                continue
            if data.augmentation == "random_resized_crop" and self.prepared.sizes is None:
                raise TailwiseError(
                    f"stage {number} generates images, for which whole images are needed, but workers crop them as "
                    "they decode them; use an image pack (tailwise data pack, then --pack), or augmentation pad_crop"
                )
            if not _wanted(stage) or owner(stages, number) != number:
                continue
            where = f"stage {number} generates images by class activation maps"
            if number == 0 and stage.start_from is None:
                raise TailwiseError(
                    f"{where}, and no classifier is trained before it; put a stage without `generate` first, or give "
                    "--stages.0.start-from the model.safetensors of a run"
                )
            if stage.reset:
                raise TailwiseError(
                    f"{where}, but it resets the {stage.reset[0]}, so that no trained classifier is left; "
                    "leave `reset` empty in this stage"
                )
            self._check_network(network)

    def enter(
        self, number: int, network: Network, generates: Mapping[str, BoundGenerate], *, resumed: bool
    ) -> dict[str, Any] | None:
        """Gives the maps to those who generate images in a stage.

        Args:
            number: The stage that begins or goes on.
            network: With the weights that the stage begins with.
            generates: By stream.
            resumed: Whether the run goes on inside the stage.

        Returns:
            Facts for the log when maps were computed, else None.

        Raises:
            RunError: The maps that the stage began with are gone, damaged or of other images; the folder cannot be
                written.
        """
        wanted, begun = _wanted(self.recipe.stages[number]), owner(self.recipe.stages, number)
        if not wanted:
            return None
        path, record = self.folder / f"stage{begun}-cam.safetensors", None
        if resumed or begun < number:
            found = self._load(path, wanted)
        else:
            start = time.perf_counter()
            self.runtime.share_buffers(network)
            made = {other: self._make(network, number, other_crops=other) for other in set(wanted.values())}
            found = {name: made[other] for name, other in wanted.items()}
            if self.runtime.is_main:
                # The same tensor under two names is not what the format is for.
                save_weights(path, {name: value.clone() for name, value in found.items()}, {"hash": self.recipe.hash})
            self.runtime.barrier()
            record = {"images": len(self.prepared.index), "seconds": time.perf_counter() - start}
        for name, value in found.items():
            generates[name].maps = value
        return record

    def _make(self, network: Network, number: int, *, other_crops: bool) -> Tensor:
        """Maps ``[N,h,w]`` of all images on every process; each computes its share."""
        recipe, prepared, runtime = self.recipe, self.prepared, self.runtime
        index = prepared.index
        plan = plain_plan(
            recipe.data,
            len(index),
            min(recipe.evaluate.batch, len(index)),
            sizes=prepared.sizes,
            rank=runtime.rank,
            world=runtime.world,
            rng=generator(recipe.seed, number, "maps of other crops") if other_crops else None,
        )
        shares: list[Tensor] = []
        with measuring(network, runtime):
            for batch in self.source.batches(plan):
                stream = batch["main"]
                maps = network.maps(network.pixel.augment(stream))
                shares.append(class_activation_maps(maps, network.head.classifier_weight, stream["label"]).half())
        own = torch.cat(shares)[: len(index.labels[runtime.rank :: runtime.world])]
        if runtime.world == 1:
            return own
        found = torch.zeros(len(index), *own.shape[1:], device=own.device)
        found[runtime.rank :: runtime.world] = own.float()
        # The rows of the other processes are zero here, so the sum puts all shares together.
        return runtime.sum(found).half()

    def _load(self, path: Path, wanted: Mapping[str, bool]) -> dict[str, Tensor]:
        if not path.is_file():
            raise RunError(
                f"{path} is missing: the class activation maps that the stage began with, without which the run cannot "
                "go on; put the file back, or start the run anew in another --out"
            )
        found = load_weights(path)
        shapes = {name: list(found[name].shape) if name in found else None for name in wanted}
        images = len(self.prepared.index)
        for name, shape in shapes.items():
            if shape is None or len(shape) != 3 or shape[0] != images:
                raise RunError(
                    f"{path} holds {shape or 'nothing'} for stream {name!r}; expected maps of {images} images"
                )
        return {name: found[name].to(self.runtime.device) for name in wanted}

    def _check_network(self, network: Network) -> None:
        size = self.recipe.data.image_size
        backbone, head = self.recipe.backbone.name, self.recipe.head.name
        blank = copy.deepcopy(network).to("meta").eval()
        kind = next(blank.parameters()).dtype
        with torch.no_grad():
            maps = blank.maps(torch.zeros(2, 3, size, size, device="meta", dtype=kind))
            try:
                check_maps(maps, blank.head.classifier_weight)
            except (TailwiseError, NotImplementedError, AttributeError, TypeError) as error:
                raise TailwiseError(f"backbone {backbone!r} with head {head!r}: {error}") from error


def owner(stages: Sequence[Stage], number: int) -> int:
    """The stage whose maps a stage uses: the first of those before it that generate in the same streams."""
    while number > 0 and _wanted(stages[number - 1]) == _wanted(stages[number]):
        number -= 1
    return number


def _wanted(stage: Stage) -> dict[str, bool]:
    """The streams that need maps, and whether these are of other crops."""
    generates = {name: stream.generate for name, stream in stage.streams.items() if stream.generate is not None}
    return {name: generate.other_crops for name, generate in generates.items() if generate.needs_maps}
