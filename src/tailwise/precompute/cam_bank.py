"""Class activation maps of all training images, computed when a stage that needs them begins (zhang2021bag, Fig. 1)."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor

from tailwise.core.errors import RunError
from tailwise.core.rng import generator
from tailwise.engine.recipe import Stage
from tailwise.engine.task import Task
from tailwise.models.cam import class_activation_maps
from tailwise.models.network import Network
from tailwise.precompute.base import BeforeStage, check_plain, check_trained


class CamBank(BeforeStage):
    """The maps of one run, at the size of the network's feature maps, in float16.

    A stage that generates images computes them with the network as it is when the stage begins. A stage that
    generates in the same streams as the one before it keeps the maps of that stage.
    """

    event: ClassVar[str] = "maps"
    kind: ClassVar[str] = "cam"
    contents: ClassVar[str] = "the class activation maps"

    def check(self, network: Network) -> None:
        """Refuses a recipe that could not generate its images, before anything is trained.

        Args:
            network: The run's network; a copy without data is run.

        Raises:
            TailwiseError: No trained classifier before the stage, no feature maps, a head without class vectors, or
                images that reach the network cropped already.
        """
        stages = self.recipe.stages
        for number, stage in enumerate(stages):
            if not any(stream.generate is not None for stream in stage.streams.values()):
                continue
            check_plain(number, "generates images", self.recipe, self.prepared)
            if not _wanted(stage) or owner(stages, number) != number:
                continue
            where = f"stage {number} generates images by class activation maps"
            check_trained(number, self.recipe, where, "`generate`")
            self.blank_maps(network)

    def enter(self, number: int, network: Network, task: Task, *, resumed: bool) -> dict[str, Any] | None:
        """Gives the maps to those who generate images in a stage; see :meth:`BeforeStage.enter`."""
        wanted, begun = _wanted(self.recipe.stages[number]), owner(self.recipe.stages, number)
        if not wanted:
            return None
        record = None
        if resumed or begun < number:
            found = self._load(begun, wanted)
        else:
            start = time.perf_counter()
            self.runtime.share_buffers(network)
            made = {other: self._make(network, number, other_crops=other) for other in set(wanted.values())}
            found = {name: made[other] for name, other in wanted.items()}
            self.save(number, found)
            record = {"images": len(self.prepared.index), "seconds": time.perf_counter() - start}
        for name, value in found.items():
            task.generates[name].maps = value
        return record

    def _make(self, network: Network, number: int, *, other_crops: bool) -> Tensor:
        """Maps ``[N,h,w]`` of all images on every process; each computes its share."""
        rng = generator(self.recipe.seed, number, "maps of other crops") if other_crops else None
        weight = network.head.classifier_weight
        return self.of_all_images(network, lambda maps, label: class_activation_maps(maps, weight, label).half(), rng)

    def _load(self, number: int, wanted: Mapping[str, bool]) -> dict[str, Tensor]:
        found, path = self.load(number), self.path(number)
        shapes = {name: list(found[name].shape) if name in found else None for name in wanted}
        images = len(self.prepared.index)
        for name, shape in shapes.items():
            if shape is None or len(shape) != 3 or shape[0] != images:
                raise RunError(
                    f"{path} holds {shape or 'nothing'} for stream {name!r}; expected maps of {images} images"
                )
        return {name: found[name].to(self.runtime.device) for name in wanted}


def owner(stages: Sequence[Stage], number: int) -> int:
    """The stage whose maps a stage uses: the first of those before it that generate in the same streams."""
    while number > 0 and _wanted(stages[number - 1]) == _wanted(stages[number]):
        number -= 1
    return number


def _wanted(stage: Stage) -> dict[str, bool]:
    """The streams that need maps, and whether these are of other crops."""
    generates = {name: stream.generate for name, stream in stage.streams.items() if stream.generate is not None}
    return {name: generate.other_crops for name, generate in generates.items() if generate.needs_maps}
