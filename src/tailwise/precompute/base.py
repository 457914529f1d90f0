"""What everything has in common that is computed from all training images before a stage begins."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from tailwise.core.errors import RunError, TailwiseError
from tailwise.data.source import BatchSource
from tailwise.engine.checkpoint import load_weights, save_weights
from tailwise.engine.prepare import Prepared
from tailwise.engine.recipe import Recipe
from tailwise.engine.runtime import Runtime
from tailwise.engine.task import Task
from tailwise.evaluation.evaluate import measuring
from tailwise.models.cam import check_maps
from tailwise.models.network import Network
from tailwise.precompute.plain_plan import plain_plan


class BeforeStage(ABC):
    """One thing that is computed before a stage, from its network at that moment and all training images.

    What the stage depends on later is saved as ``stage<number>-<kind>.safetensors`` in the run's folder, so that a run
    that goes on inside the stage uses the very same; the file carries the recipe's hash.

    Args:
        recipe: The run's recipe.
        prepared: Its images.
        source: Its training batches.
        runtime: Device, precision, processes.
        folder: The run's folder.
    """

    #: The event in the log when it was computed, and the name of its file.
    event: ClassVar[str] = ""
    kind: ClassVar[str] = ""
    #: For messages: what the file holds.
    contents: ClassVar[str] = ""

    def __init__(self, recipe: Recipe, prepared: Prepared, source: BatchSource, runtime: Runtime, folder: Path) -> None:
        self.recipe, self.prepared, self.source, self.runtime, self.folder = recipe, prepared, source, runtime, folder

    @abstractmethod
    def check(self, network: Network) -> None:
        """Refuses a recipe whose stages could not have it, before anything is trained.

        Args:
            network: The run's network; a copy without data may be run.

        Raises:
            TailwiseError: With the reason.
        """

    @abstractmethod
    def enter(self, number: int, network: Network, task: Task, *, resumed: bool) -> dict[str, Any] | None:
        """Computes it, or takes it from its file, and gives it to those who use it.

        Args:
            number: The stage that begins or goes on; its components are in the task's slots.
            network: The averaged one where the recipe asks for an average; else the task's.
            task: With the weights that the stage begins with, or goes on with.
            resumed: Whether the run goes on inside the stage.

        Returns:
            Facts for the log when something was computed, else None.

        Raises:
            RunError: What the stage began with is gone, damaged or of other images; the folder cannot be written.
        """

    def path(self, number: int) -> Path:
        """Where it lies for a stage."""
        return self.folder / f"stage{number}-{self.kind}.safetensors"

    def save(self, number: int, found: Mapping[str, Tensor]) -> None:
        """Writes the file; every process calls it."""
        if self.runtime.is_main:
            # The same tensor under two names is not what the format is for.
            tensors = {name: value.clone() for name, value in found.items()}
            save_weights(self.path(number), tensors, {"hash": self.recipe.hash})
        self.runtime.barrier()

    def load(self, number: int) -> dict[str, Tensor]:
        """Reads the file.

        Raises:
            RunError: It is missing or damaged.
        """
        path = self.path(number)
        if not path.is_file():
            raise RunError(
                f"{path} is missing: {self.contents} that the stage began with, without which the run cannot "
                "go on; put the file back, or start the run anew in another --out"
            )
        return load_weights(path)

    def of_all_images(
        self,
        network: Network,
        compute: Callable[[Tensor, Tensor], Tensor],
        rng: np.random.Generator | None = None,
    ) -> Tensor:
        """A tensor ``[N,...]`` of all training images on every process; each computes its share.

        Args:
            network: Its modes are put back afterwards.
            compute: From feature maps ``[B,D,h,w]`` and labels ``[B]`` to ``[B,...]``.
            rng: Draws a crop and a flip for every image; None: plain images.
        """
        recipe, prepared, runtime = self.recipe, self.prepared, self.runtime
        index = prepared.index
        plan = plain_plan(
            recipe.data,
            len(index),
            min(recipe.evaluate.batch, len(index)),
            sizes=prepared.sizes,
            rank=runtime.rank,
            world=runtime.world,
            rng=rng,
        )
        shares: list[Tensor] = []
        with measuring(network, runtime):
            for batch in self.source.batches(plan):
                stream = batch["main"]
                shares.append(compute(network.maps(network.pixel.augment(stream)), stream["label"]))
        own = torch.cat(shares)[: len(index.labels[runtime.rank :: runtime.world])]
        if runtime.world == 1:
            return own
        found = torch.zeros(len(index), *own.shape[1:], device=own.device)
        found[runtime.rank :: runtime.world] = own.float()
        # The rows of the other processes are zero here, so the sum puts all shares together.
        return runtime.sum(found).to(own.dtype)

    def blank_maps(self, network: Network, layer: str | None = None) -> torch.Size:
        """The shape of the maps of two images, at the end of the backbone or after a layer of it; computes nothing.

        Raises:
            TailwiseError: There are no maps that a class activation map could be made of.
        """
        size = self.recipe.data.image_size
        backbone, head = self.recipe.backbone.name, self.recipe.head.name
        blank = copy.deepcopy(network).to("meta").eval()
        image = torch.zeros(2, 3, size, size, device="meta", dtype=next(blank.parameters()).dtype)
        seen: dict[str, Tensor] = {}
        with torch.no_grad():
            maps = blank.maps(image)
            try:
                check_maps(maps, blank.head.classifier_weight)
            except (TailwiseError, NotImplementedError, AttributeError, TypeError) as error:
                raise TailwiseError(f"backbone {backbone!r} with head {head!r}: {error}") from error
            if layer is None:
                return maps.shape
            entered: Any = blank.backbone

            def between(name: str, x: Tensor) -> Tensor:
                seen[name] = x
                return x

            entered.forward_layers(image, between)
        return seen[layer].shape


def check_plain(stage_number: int, what: str, recipe: Recipe, prepared: Prepared) -> None:
    """Refuses whole images where workers crop as they decode.

    Raises:
        TailwiseError: Says what to do.
    """
    if recipe.data.augmentation == "random_resized_crop" and prepared.sizes is None:
        raise TailwiseError(
            f"stage {stage_number} {what}, for which whole images are needed, but workers crop them as they decode "
            "them; use an image pack (tailwise data pack, then --pack), or augmentation pad_crop"
        )


def check_trained(number: int, recipe: Recipe, where: str, without: str) -> None:
    """Refuses a stage before which no classifier is trained.

    Raises:
        TailwiseError: Begins with ``where``; ``without`` says what an earlier stage must do without.
    """
    stage = recipe.stages[number]
    if number == 0 and stage.start_from is None:
        raise TailwiseError(
            f"{where}, and no classifier is trained before it; put a stage without {without} first, or give "
            "--stages.0.start-from the model.safetensors of a run"
        )
    if stage.reset:
        raise TailwiseError(
            f"{where}, but it resets the {stage.reset[0]}, so that no trained classifier is left; "
            "leave `reset` empty in this stage"
        )
