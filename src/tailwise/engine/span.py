"""How long each stage is in epochs and steps, and which learning rate each of its steps has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tailwise.data.plan import steps_per_epoch
from tailwise.engine.recipe import Stage


@dataclass(frozen=True)
class StageSpan:
    """The place of a stage in a run.

    Attributes:
        epochs: Epochs of the stage; the last one may be shorter when the stage is given in steps.
        steps_per_epoch: Steps of a full epoch.
        steps: Steps of the stage.
        first_epoch: Epochs of all stages before.
        owner: The stage whose optimiser and schedule act here.
        owner_epochs: Epochs since that optimiser began, at the start of this stage.
        schedule_epochs: Epochs of all stages that share that optimiser.
    """

    epochs: int
    steps_per_epoch: int
    steps: int
    first_epoch: int
    owner: int
    owner_epochs: int
    schedule_epochs: int

    def steps_in(self, epoch: int) -> int:
        """Steps of one epoch of the stage."""
        return min(self.steps_per_epoch, self.steps - epoch * self.steps_per_epoch)

    def learning_rate(self, stages: Sequence[Stage], epoch: int, fraction: float) -> float:
        """The learning rate in an epoch of this stage, ``fraction`` of it done."""
        optim = stages[self.owner].optim
        if optim is None:
            return 0.0
        factor = optim.schedule.factor(self.owner_epochs + epoch, fraction, self.schedule_epochs)
        return optim.lr * factor


def spans(stages: Sequence[Stage], num_images: int) -> list[StageSpan]:
    """The spans of a recipe's stages for a training set of so many images."""
    lengths: list[tuple[int, int, int]] = []
    for stage in stages:
        per_epoch = steps_per_epoch(stage, num_images)
        steps = stage.steps if stage.steps is not None else stage.epochs * per_epoch
        lengths.append((-(-steps // per_epoch), per_epoch, steps))
    owners: list[int] = []
    for number, stage in enumerate(stages):
        owners.append(number if stage.optim is not None or not owners else owners[-1])
    result: list[StageSpan] = []
    for number, (epochs, per_epoch, steps) in enumerate(lengths):
        shared = [index for index, owner in enumerate(owners) if owner == owners[number]]
        result.append(
            StageSpan(
                epochs=epochs,
                steps_per_epoch=per_epoch,
                steps=steps,
                first_epoch=sum(length[0] for length in lengths[:number]),
                owner=owners[number],
                owner_epochs=sum(lengths[index][0] for index in shared if index < number),
                schedule_epochs=sum(lengths[index][0] for index in shared),
            )
        )
    return result
