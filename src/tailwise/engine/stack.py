"""Several tasks as one: their backbones run stacked, everything else is each task's own.

Legend: K tasks, B batch of one task, D feature width of one backbone, h w map size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tailwise.core.types import Batch
from tailwise.engine.task import Task
from tailwise.models.aside import aside
from tailwise.models.stacked import StackedBackbone, why_not_stackable


class Stack(nn.Module):
    """One forward pass for K tasks of one architecture.

    Their networks keep their parameters, which become views into the stacked ones; see
    :class:`~tailwise.models.stacked.StackedBackbone`.

    Args:
        tasks: In their stages, with batches of equal shapes.
        channels_last: Keep the stacked weights in channels-last memory.
    """

    def __init__(self, tasks: Sequence[Task], *, channels_last: bool) -> None:
        super().__init__()
        # Held in a tuple, so that the tasks' parameters are not this module's as well.
        self.tasks = tuple(tasks)
        self.backbone = StackedBackbone([task.network.backbone for task in tasks], channels_last=channels_last)
        #: Layers after which the feature augmentation of one task at least acts.
        self.entered = frozenset(layer for task in tasks for layer in task.entered)
        #: Forward passes of a step: one, and one for each view that has its own.
        self.passes = 1 + sum(view.apart for view in tasks[0].views)
        heads = [task.network.head for task in tasks]
        plain = all(task.feature_aug is None for task in tasks)
        self.batched_heads = plain and all(type(head) is type(heads[0]) for head in heads)
        self.batched_heads = self.batched_heads and all(task.recipe.head == tasks[0].recipe.head for task in tasks)

    def forward(self, batches: Sequence[Batch]) -> list[dict[str, Any]]:
        """The outcome of every task on its own batch; see :meth:`tailwise.engine.task.Task.outcome`."""
        inputs = [task.inputs(batch) for task, batch in zip(self.tasks, batches, strict=True)]

        def between(number: int, layer: str, maps: Tensor) -> Tensor:
            return self.tasks[number].at_place(layer, maps, inputs[number].targets, batches[number])

        maps = self.backbone(torch.cat([item.image for item in inputs], dim=1), self.entered, between)
        apart = [
            aside(self.backbone, self.backbone, torch.cat(images, dim=1))
            for images in zip(*(item.apart for item in inputs), strict=True)
        ]
        if apart:
            maps = torch.cat([maps, *apart])
        outcomes: list[dict[str, Any]] = []
        heads = [task.network.head for task in self.tasks]
        outputs = type(heads[0]).forward_stacked(heads, maps) if self.batched_heads else None
        for number, (task, batch) in enumerate(zip(self.tasks, batches, strict=True)):
            own = None if outputs is None else {name: value[:, number] for name, value in outputs.items()}
            outcomes.append(task.outcome(maps[:, number], inputs[number], batch, own))
        return outcomes


def why_not_stacked(tasks: Sequence[Task]) -> str | None:
    """Why these tasks cannot run as a stack, or None when they can."""
    if any(task.reads_bank for task in tasks):
        return "the steps read features and run no backbone"
    return why_not_stackable([task.network.backbone for task in tasks])
