"""Stages that runs have in common: trained once, kept at their end, and gone on from by the others.

The paper's deferred methods differ in their last stage only. What the first stages leave behind is a checkpoint like
any other; a run that begins with it takes the path of a resumed run, which equals an uninterrupted one bit for bit.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from tailwise.core.errors import RunError
from tailwise.core.spec import spec_hash
from tailwise.engine.checkpoint import Checkpoints, write_error
from tailwise.engine.recipe import Recipe
from tailwise.engine.run_folder import SHARED, RunFolder
from tailwise.engine.schedule import Constant
from tailwise.engine.span import spans
from tailwise.engine.together import Job


def prefix_key(recipe: Recipe, count: int, num_images: int, device: str) -> str:
    """What the weights, the optimiser, the log and the measures after the first ``count`` stages depend on, hashed.

    The learning rates enter step by step rather than as a schedule: a stage whose optimiser is carried on shares with
    one whose optimiser ends there as long as the rates are the same. The length of the whole run enters only by the
    epochs after which it is evaluated.

    Args:
        recipe: With its data fingerprint.
        count: Stages, from 1 to one less than the recipe has.
        num_images: Training images.
        device: Its type: two kinds of device round differently.

    Returns:
        Sixteen hexadecimal digits; the seed is not among what they depend on.
    """
    whole = spans(recipe.stages, num_images)
    head, total = whole[:count], whole[-1].first_epoch + whole[-1].epochs
    rates = hashlib.sha256()
    for span in head:
        for epoch in range(span.epochs):
            steps = span.steps_in(epoch)
            values = [span.learning_rate(recipe.stages, epoch, step / steps) for step in range(steps)]
            rates.update(repr(values).encode())
    stages = tuple(
        stage
        if stage.optim is None
        else dataclasses.replace(stage, optim=dataclasses.replace(stage.optim, schedule=Constant()))
        for stage in recipe.stages[:count]
    )
    end = head[-1].first_epoch + head[-1].epochs
    spec = recipe.evaluate
    measured = [epoch for epoch in range(1, end + 1) if epoch % spec.every == 0 or epoch > total - spec.last]
    same = dataclasses.replace(recipe, stages=stages, evaluate=dataclasses.replace(spec, every=1, last=1))
    parts = [spec_hash(same), rates.hexdigest(), measured, [span.steps for span in head], device]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


class Prefixes:
    """A folder of ends of stages, ``<key>/seed<seed>``, that runs on one data set share.

    Args:
        folder: Where they lie.
        num_images: Training images.
        device: The device's type.
    """

    def __init__(self, folder: Path, num_images: int, device: str) -> None:
        self.folder, self.num_images, self.device = folder, num_images, device

    def place(self, recipe: Recipe, count: int) -> Path:
        """Where the end of a recipe's first ``count`` stages lies, or would."""
        return self.folder / prefix_key(recipe, count, self.num_images, self.device) / f"seed{recipe.seed}"

    def keep(
        self, recipe: Recipe, count: int, run: Path, weights: dict[str, torch.Tensor], state: dict[str, Any]
    ) -> None:
        """Keeps the end of a stage, whole or not at all; one that is there stays.

        Args:
            recipe: Of the run.
            count: Stages that are done.
            run: The run's folder, for its log and what its stages computed before they began.
            weights: As a checkpoint has them.
            state: As a checkpoint has it.

        Raises:
            RunError: The folder cannot be written.
        """
        place = self.place(recipe, count)
        if place.exists():
            return
        temporary = place.with_name(f".{place.name}-{os.getpid()}")
        try:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
            Checkpoints(temporary).save(int(state["global_step"]), weights, state)
            lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
            (temporary / "metrics.jsonl").write_text("".join(lines[: int(state["lines"])]), encoding="utf-8")
            for made in _made_before(run, count):
                shutil.copyfile(made, temporary / made.name)
            if not place.exists():
                os.replace(temporary, place)
        except OSError as error:
            if not place.exists():  # another process was first: its end is the same
                raise write_error(error, place) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def seed(self, job: Job) -> int:
        """Lets a run begin where the longest prefix that is kept ends, unless it is there already.

        Returns:
            The number of stages that it need not train; 0 when nothing was changed.

        Raises:
            RunError: The run's folder cannot be taken, or what is kept is damaged.
        """
        for count in range(len(job.recipe.stages) - 1, 0, -1):
            place = self.place(job.recipe, count)
            if place.is_dir():
                return count if self._copy(job, count, place) else 0
        return 0

    def waves(self, jobs: Sequence[Job]) -> tuple[list[Job], list[Job]]:
        """Jobs to train now, and those that would train stages which one of the first is about to."""
        now: list[Job] = []
        later: list[Job] = []
        promised: set[Path] = set()
        for job in jobs:
            places = [self.place(job.recipe, count) for count in range(1, len(job.recipe.stages))]
            missing = [place for place in places if not place.is_dir()]
            if promised.intersection(missing):
                later.append(job)
            else:
                now.append(job)
                promised.update(missing)
        return now, later

    def _copy(self, job: Job, count: int, place: Path) -> bool:
        newest, own = Checkpoints(place).newest(), Checkpoints(job.folder.path).newest()
        if newest is None or (own is not None and own.name >= newest.name):
            return False
        try:
            loaded = Checkpoints(place).load()
        except RunError as error:
            raise RunError(f"{error}; it holds stages that several runs share, and can be deleted") from error
        assert loaded is not None
        weights, state = loaded
        folder: RunFolder = job.folder
        folder.claim(job.recipe, resume=True)
        try:
            for path in (place / "metrics.jsonl", *_made_before(place, count)):
                shutil.copyfile(path, folder.path / path.name)
            state = {**{key: value for key, value in state.items() if key != "format"}, "recipe_hash": job.recipe.hash}
            folder.write_json(SHARED, {"stages": count, "steps": int(state["global_step"]), "key": place.parent.name})
            # Last: a kill before it leaves a run that has not begun.
            Checkpoints(folder.path).save(int(state["global_step"]), weights, state)
        except OSError as error:
            raise write_error(error, folder.path) from error
        finally:
            folder.release()
        return True


def _made_before(folder: Path, count: int) -> list[Path]:
    """What the first ``count`` stages computed before they began: maps, confusions."""
    return [path for number in range(count) for path in sorted(folder.glob(f"stage{number}-*.safetensors"))]
