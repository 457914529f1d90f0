"""Runs that begin on one number of processes and go on with another; each process of a pair calls :func:`main`."""

from __future__ import annotations

import dataclasses
import os
import re
import signal
import sys
from pathlib import Path

from tailwise.engine.loop import Interrupted
from tailwise.engine.progress import Silent
from tailwise.engine.recipe import Optim, Recipe
from tailwise.engine.schedule import Constant
from tailwise.engine.train import train
from tailwise.recipes.base import replace_stage
from tests.helpers import tiny_recipe

EPOCHS, STEPS = 4, 5
#: After the second epoch, and inside the third.
CUTS = (10, 12)


def recipe() -> Recipe:
    """Epochs of five steps in which no BatchNorm statistics are taken, since those are of one process's share."""
    found = tiny_recipe(epochs=EPOCHS, log_every=2)
    found = dataclasses.replace(found, data=dataclasses.replace(found.data, imbalance_factor=None))
    optim = Optim(lr=0.02, schedule=Constant())
    return replace_stage(found, 0, trainable=r"(?!.*\bbn\d)", frozen_bn="eval", optim=optim)


class StopsAt(Silent):
    """Asks this process to stop as a person would, by a signal, once so many steps are done."""

    def __init__(self, step: int) -> None:
        self.step = step

    def update(self, done: int, epoch: str, loss: float, accuracy: float, rate: float) -> None:
        if done == self.step:
            os.kill(os.getpid(), signal.SIGTERM)


def begin(folder: Path, step: int, *, asks: bool) -> None:
    """Trains until that step or soon after it; ``asks``: whether this is the process that is asked to stop."""
    try:
        train(recipe(), folder, reporter=StopsAt(step) if asks else Silent())
    except Interrupted as error:
        stopped = re.match(rf"stopped at step (\d+) of {EPOCHS * STEPS}", str(error))
        assert stopped is not None, str(error)
        assert step <= int(stopped[1]) <= step + 2
        return
    raise AssertionError("the run was not interrupted")


def main(folder: Path) -> None:
    """On two processes: a whole run, the first part of runs, and the second part of runs begun on one."""
    train(recipe(), folder / "whole-2")
    for step in CUTS:
        begin(folder / f"from-2-at-{step}", step, asks=os.environ["RANK"] == "1")
        train(recipe(), folder / f"from-1-at-{step}", resume=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
