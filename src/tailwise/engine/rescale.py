"""A recipe for another number of epochs: stages and schedules in proportion."""

from __future__ import annotations

import dataclasses

from tailwise.core.errors import TailwiseError
from tailwise.engine.recipe import Recipe


def with_epochs(recipe: Recipe, epochs: int) -> Recipe:
    """The recipe compressed or stretched to a number of epochs, stages and schedules in proportion.

    The number is that of the stages given in epochs; stages given in steps get the same share of their steps.

    Raises:
        TailwiseError: Fewer epochs than stages, or only stages whose length is given in steps.
    """
    if epochs < 1:
        raise TailwiseError(f"--epochs must be at least 1, got {epochs}")
    counted = [stage for stage in recipe.stages if stage.steps is None]
    if epochs < len(counted):
        raise TailwiseError(f"--epochs {epochs} is less than the recipe's {len(counted)} stages need")
    if not counted:
        raise TailwiseError("--epochs cannot rescale stages given in steps; set --stages.N.steps instead")
    ratio, total = epochs / recipe.epochs, recipe.epochs
    done, before, passed, stages = 0, 0, 0, []
    for stage in recipe.stages:
        optim = stage.optim and dataclasses.replace(stage.optim, schedule=stage.optim.schedule.rescale(ratio))
        if stage.steps is not None:
            stages.append(dataclasses.replace(stage, steps=max(1, round(stage.steps * ratio)), optim=optim))
            continue
        passed += 1
        before += stage.epochs
        left = len(counted) - passed
        length = min(max(1, round(epochs * (before / total)) - done), epochs - done - left)
        done += length
        stages.append(dataclasses.replace(stage, epochs=length, optim=optim))
    return dataclasses.replace(recipe, stages=tuple(stages))
