"""Runs that begin on one number of processes and go on with another."""

from __future__ import annotations

import dataclasses
import os
import re
import signal
from pathlib import Path

from tailwise.engine.loop import Interrupted
from tailwise.engine.progress import Silent, is_main_process
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


def before(folder: Path) -> None:
    """On one process, first: a whole run, and the first part of runs that go on with two."""
    train(recipe(), folder / "whole-1")
    for step in CUTS:
        begin(folder / f"from-1-at-{step}", step, asks=True)


def main(folder: Path) -> None:
    """On two processes: a whole run, the first part of runs that go on with one, the rest of those begun on one."""
    train(recipe(), folder / "whole-2")
    for step in CUTS:
        begin(folder / f"from-2-at-{step}", step, asks=not is_main_process())
        train(recipe(), folder / f"from-1-at-{step}", resume=True)


def after(folder: Path) -> None:
    """On one process, last: the rest of the runs begun on two."""
    for step in CUTS:
        assert not (folder / f"from-2-at-{step}" / "result.json").exists()
        train(recipe(), folder / f"from-2-at-{step}", resume=True)
