"""A recipe for another number of epochs: stages and schedules in proportion."""

from __future__ import annotations

import dataclasses

from tailwise.core.errors import TailwiseError
from tailwise.engine.recipe import Recipe


def with_epochs(recipe: Recipe, epochs: int) -> Recipe:
    """The recipe compressed or stretched to a number of epochs, stages and schedules in proportion.

    Raises:
        TailwiseError: Fewer epochs than stages, or a stage whose length is given in steps.
    """
    if epochs < 1:
        raise TailwiseError(f"--epochs must be at least 1, got {epochs}")
    if epochs < len(recipe.stages):
        raise TailwiseError(f"--epochs {epochs} is less than the recipe's {len(recipe.stages)} stages need")
    if any(stage.steps is not None for stage in recipe.stages):
        raise TailwiseError("--epochs cannot rescale a stage given in steps; set --stages.N.steps instead")
    ratio, total = epochs / recipe.epochs, recipe.epochs
    done, stages = 0, []
    for number, stage in enumerate(recipe.stages):
        left = len(recipe.stages) - number - 1
        end = round(epochs * (sum(s.epochs for s in recipe.stages[: number + 1]) / total))
        length = min(max(1, end - done), epochs - done - left)
        done += length
        optim = stage.optim and dataclasses.replace(stage.optim, schedule=stage.optim.schedule.rescale(ratio))
        stages.append(dataclasses.replace(stage, epochs=length, optim=optim))
    return dataclasses.replace(recipe, stages=tuple(stages))
