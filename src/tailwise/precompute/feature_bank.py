"""Feature maps of all training images, in a stage whose backbone never changes and sees plain images."""

from __future__ import annotations

import time
from typing import Any, ClassVar

from tailwise.data.bank import BankSource
from tailwise.data.source import BatchSource
from tailwise.engine.recipe import Recipe, Stage
from tailwise.engine.task import Task
from tailwise.models.network import Network
from tailwise.precompute.base import BeforeStage

#: The most bytes that maps may take on the device.
MOST = 4 * 2**30


class FeatureBank(BeforeStage):
    """The maps that a frozen backbone gives of plain images, computed once so that no step runs the backbone.

    The steps are the same as with images, up to the rounding of convolutions with another number of images. Nothing is
    saved: a run that goes on computes the maps again from the same frozen weights.
    """

    event: ClassVar[str] = "features"
    kind: ClassVar[str] = "features"

    #: Where the stage's batches come from; None: from images.
    found: BatchSource | None = None

    def check(self, network: Network) -> None:
        """Nothing to refuse: without maps a stage runs its backbone."""

    def enter(self, number: int, network: Network, task: Task, *, resumed: bool) -> dict[str, Any] | None:
        """Computes the maps where the stage can read them; see :meth:`BeforeStage.enter`."""
        stage = self.recipe.stages[number]
        self.found, task.reads_bank = None, False
        if not may_read(self.recipe, stage, task.network):
            return None
        shape = self.blank_maps(task.network)
        size = len(self.prepared.index) * shape[1:].numel() * next(task.network.parameters()).element_size()
        if size > MOST:
            return None
        start = time.perf_counter()
        self.runtime.share_buffers(task.network)
        maps = self.of_all_images(task.network, lambda maps, label: maps)
        self.found, task.reads_bank = BankSource(maps, self.prepared.index.labels), True
        return {"images": len(maps), "bytes": size, "seconds": time.perf_counter() - start}


def may_read(recipe: Recipe, stage: Stage, network: Network) -> bool:
    """Whether all that a stage's steps read of an image are maps that do not change in it."""
    plain = stage.images == "plain" or recipe.data.augmentation == "none"
    moved = stage.mix is not None or bool(stage.views) or any(item.generate for item in stage.streams.values())
    inside = stage.feature_aug is not None and any(place != "fc" for place in stage.feature_aug.places)
    frozen = stage.frozen_bn == "eval" and not any(item.requires_grad for item in network.backbone.parameters())
    return recipe.run.features == "auto" and plain and not moved and not inside and frozen
