"""The loop: for every stage, for every epoch, for every row of the plan one step; measure, save, resume."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from timm.utils.model_ema import ModelEmaV3
from torch import nn

from tailwise.core.errors import RunError
from tailwise.core.rng import generator
from tailwise.data.plan import check_batches, make_plan
from tailwise.data.source import BatchSource
from tailwise.engine.checkpoint import Checkpoints, load_weights, not_finite
from tailwise.engine.measure import Logs, Measures
from tailwise.engine.optim import make_optimizer, restore_optimizer, set_learning_rate
from tailwise.engine.prepare import Prepared
from tailwise.engine.progress import Reporter
from tailwise.engine.recipe import Recipe, Stage
from tailwise.engine.run_folder import RunFolder
from tailwise.engine.runtime import Runtime
from tailwise.engine.span import spans
from tailwise.engine.step import EagerExecutor, EpochMeter, NotFiniteLoss, check_finite
from tailwise.engine.task import Task
from tailwise.engine.trainable import enter_modes, select_trainable
from tailwise.evaluation.evaluate import EvaluationSplit


class Interrupted(RunError):
    """The run was asked to stop; a checkpoint was kept."""


class Training:
    """One run of a recipe in a folder.

    Args:
        recipe: With its data fingerprint filled in.
        prepared: Its images.
        source: Training batches.
        split: Evaluation batches.
        runtime: Device, precision, processes.
        folder: Claimed for this run.
        reporter: What a person sees.
        stop: Asked after every step; true saves a checkpoint and stops.
    """

    def __init__(
        self,
        recipe: Recipe,
        prepared: Prepared,
        source: BatchSource,
        split: EvaluationSplit,
        runtime: Runtime,
        folder: RunFolder,
        reporter: Reporter,
        stop: Callable[[], bool],
    ) -> None:
        self.recipe, self.prepared, self.source = recipe, prepared, source
        self.runtime, self.folder, self.reporter, self.stop = runtime, folder, reporter, stop
        self.labels, self.stats = prepared.index.labels, prepared.index.stats
        for stage in recipe.stages:
            check_batches(stage, runtime.world)
        self.spans = spans(recipe.stages, prepared.index.stats.num_images)
        self.total_steps = sum(span.steps for span in self.spans)
        self.total_epochs = self.spans[-1].first_epoch + self.spans[-1].epochs
        self.measures = Measures(recipe.evaluate, split, self.stats, runtime, self.total_epochs)
        seed = int(generator(recipe.seed, "initial weights").integers(2**62))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.task = Task(recipe, self.stats, runtime.sum, runtime.world)
        for stage in recipe.stages:
            self.task.check(stage)
        self.task.to(runtime.device)
        self.network = self.task.network
        self.ema = ModelEmaV3(self.network, decay=recipe.ema) if recipe.ema is not None else None
        self.checkpoints = Checkpoints(folder.path)
        self.optimizer: torch.optim.Optimizer | None = None
        self.step = 0
        self.seconds = 0.0
        self.logs: Logs | None = None
        self._saved_at = time.monotonic()

    @property
    def evaluated(self) -> nn.Module:
        """The network that is measured and saved: the averaged one where the recipe asks for an average."""
        return self.network if self.ema is None else self.ema.module

    def run(self, *, resume: bool) -> None:
        """Trains to the end, from the newest checkpoint when there is one and ``resume``.

        Raises:
            NotFiniteLoss: The loss or a weight stopped being finite; the last good checkpoint stays.
            Interrupted: ``stop`` said so.
            RunError: A folder cannot be written, or a checkpoint is damaged.
        """
        loaded = self.checkpoints.load() if resume else None
        state = loaded[1] if loaded else None
        self._saved_at = time.monotonic()
        self.logs = Logs(
            self.folder.path,
            0 if state is None else int(state["lines"]),
            tensorboard=self.recipe.run.tensorboard,
            is_main=self.runtime.is_main,
        )
        at = (0, 0) if state is None else (int(state["stage"]), int(state["epoch"]))
        if loaded is not None:
            self._restore(*loaded)
        self.reporter.start(f"{self.recipe.name} · seed {self.recipe.seed}", self.total_steps, self.step)
        try:
            for number, stage in enumerate(self.recipe.stages):
                if number < at[0]:
                    continue
                resumed = state if number == at[0] else None
                executor = self._enter(number, stage, resumed)
                for epoch in range(at[1] if number == at[0] else 0, self.spans[number].epochs):
                    self._epoch(number, stage, epoch, executor, resumed if epoch == at[1] else None)
                    resumed = None
            if self.step > (0 if state is None else int(state["global_step"])) or state is None:
                self._save(len(self.recipe.stages), 0, None)
        finally:
            self.reporter.stop()

    def _enter(self, number: int, stage: Stage, state: dict[str, Any] | None) -> EagerExecutor:
        """Puts a stage's components, weights and optimiser in place."""
        if state is None:
            self._reset(number, stage)
        self.task.enter(stage)
        self.task.to(self.runtime.device)
        if stage.optim is not None or self.optimizer is None:
            # After a resume the optimiser that is carried on holds what the stage that began it trained.
            owner = self.recipe.stages[self.spans[number].owner]
            if owner.optim is None:
                raise RunError(f"stage {number} has no optimiser to carry on")
            select_trainable(self.network, owner)
            self.optimizer = make_optimizer(owner.optim, self.network.parameters())
        select_trainable(self.network, stage)
        held = {id(item) for group in self.optimizer.param_groups for item in group["params"]}
        if any(item.requires_grad and id(item) not in held for item in self.network.parameters()):
            raise RunError(
                f"stage {number} trains parameters that the optimiser it carries on does not hold; give it `optim`"
            )
        if state is not None:
            restore_optimizer(self.optimizer, state["optimizer"])
        task, optimizer = self.runtime.setup(self.task, self.optimizer)
        return EagerExecutor(self.runtime, task, optimizer)

    def _reset(self, number: int, stage: Stage) -> None:
        """Weights that a stage wants before it starts: from a file, or parts of them anew."""
        if stage.start_from is not None:
            self._load_network(load_weights(Path(stage.start_from)), stage.start_from)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(generator(self.recipe.seed, number, "reset").integers(2**62)))
            if "backbone" in stage.reset:
                self.network.backbone = self.task.new_backbone()
            if "head" in stage.reset:
                self.network.head = self.task.new_head(self.network.backbone)
        if stage.reset or stage.start_from is not None:
            self.network.to(self.runtime.device)
            if self.ema is not None:
                self.ema.set(self.network)

    def _load_network(self, weights: dict[str, torch.Tensor], where: str) -> None:
        try:
            self.network.load_state_dict(weights)
        except RuntimeError as error:
            raise RunError(f"the weights in {where} do not fit the recipe's network: {error}") from error

    def _epoch(
        self, number: int, stage: Stage, epoch: int, executor: EagerExecutor, state: dict[str, Any] | None
    ) -> None:
        """One epoch, from its middle when ``state`` says so."""
        span, runtime, recipe = self.spans[number], self.runtime, self.recipe
        steps = span.steps_in(epoch)
        plan = make_plan(
            stage,
            recipe.data,
            self.labels,
            self.stats,
            seed=recipe.seed,
            stage_number=number,
            epoch=epoch,
            progress=epoch / max(1, span.epochs - 1),
            steps=steps,
        ).rank_slice(runtime.rank, runtime.world)
        meter = EpochMeter(steps, runtime.device)
        torch.manual_seed(int(generator(recipe.seed, number, epoch, "network", runtime.rank).integers(2**62)))
        if state is not None and state["meter"] is not None:
            meter.restore(state["meter"], is_main=runtime.is_main)
            _restore_rng(state["rng"])
        enter_modes(self.network, stage)
        images = sum(stream.batch for stream in stage.streams.values())
        label = f"{span.first_epoch + epoch + 1}/{self.total_epochs}"
        began = ticked = looked = time.perf_counter()
        before = looked_at = meter.done
        for batch in self.source.batches(plan, meter.done):
            rate = span.learning_rate(self.recipe.stages, epoch, meter.done / steps)
            set_learning_rate(executor.optimizer, rate)
            executor.run(batch, meter)
            self.step += 1
            if self.ema is not None:
                self.ema.update(self.network, self.step)
            stopping, saving = self._stopping(), self.runtime.world == 1 and self._due()
            if meter.done % recipe.run.log_every == 0 or meter.done == steps or stopping or saving:
                losses = check_finite(meter, runtime, self.step)
                now = time.perf_counter()
                speed = (meter.done - looked_at) * images / max(now - looked, 1e-9)
                looked, looked_at = now, meter.done
                self.reporter.update(self.step, label, sum(losses) / len(losses), self._accuracy(meter, stage), speed)
            if meter.done == steps:
                break
            if saving or stopping:
                ticked = self._tick(ticked)
                self._save(number, epoch, meter)
            if stopping:
                raise Interrupted(f"stopped at step {self.step} of {self.total_steps}; a checkpoint was kept")
        runtime.synchronize()
        ticked = self._tick(ticked)
        self._epoch_record(number, stage, epoch, meter, (meter.done - before) * images / (ticked - began))
        done = span.first_epoch + epoch + 1
        if self.measures.due(done):
            record = self.measures.evaluate(self.evaluated, done)
            self._log({"event": "evaluation", "stage": number, "step": self.step, **record})
        self._tick(ticked)
        stopping = self._agree(self.stop())
        if (stopping or self._agree(self._due())) and self.step < self.total_steps:
            self._save(number, epoch + 1, None)
            if stopping:
                raise Interrupted(f"stopped at step {self.step} of {self.total_steps}; a checkpoint was kept")

    def _tick(self, since: float) -> float:
        """Counts the time since then as spent on this run; the time now."""
        now = time.perf_counter()
        self.seconds += now - since
        return now

    def _accuracy(self, meter: EpochMeter, stage: Stage) -> float:
        first = next(iter(stage.streams.values())).batch
        return 100 * int(self.runtime.sum(meter.hits)) / (meter.done * first)

    def _epoch_record(self, number: int, stage: Stage, epoch: int, meter: EpochMeter, speed: float) -> None:
        losses = check_finite(meter, self.runtime, self.step)
        parts = {name: float(self.runtime.sum(value)) / meter.done for name, value in meter.parts.items()}
        self._log(
            {
                "event": "epoch",
                "stage": number,
                "epoch": self.spans[number].first_epoch + epoch + 1,
                "step": self.step,
                "loss": sum(losses) / len(losses),
                "accuracy": self._accuracy(meter, stage),
                "lr": self.spans[number].learning_rate(self.recipe.stages, epoch, 0.0),
                "images_per_second": speed,
                "seconds": self.seconds,
                "parts": parts,
            }
        )

    def _stopping(self) -> bool:
        """Whether to stop in mid-epoch; several processes stop after epochs, where they can agree on it."""
        return self.runtime.world == 1 and self.stop()

    def _due(self) -> bool:
        """Whether the last checkpoint is old enough for a new one."""
        return time.monotonic() - self._saved_at >= self.recipe.run.checkpoint_seconds

    def _agree(self, wish: bool) -> bool:
        """Whether any process wishes it."""
        if self.runtime.world == 1:
            return wish
        return bool(self.runtime.sum(torch.tensor(float(wish), device=self.runtime.device)) > 0)

    def _save(self, stage: int, epoch: int, meter: EpochMeter | None) -> None:
        """A checkpoint from which training goes on with ``stage`` and ``epoch``."""
        bad = not_finite(self.network.state_dict())
        if bad is not None:
            raise NotFiniteLoss(f"the weights {bad!r} are no longer finite at step {self.step}; no checkpoint was made")
        self._saved_at = time.monotonic()
        if not self.runtime.is_main or self.optimizer is None:
            return
        weights = dict(self.network.state_dict())
        if self.ema is not None:
            weights.update({f"ema.{name}": value for name, value in self.ema.module.state_dict().items()})
        state = {
            "stage": stage,
            "epoch": epoch,
            "global_step": self.step,
            "seconds": self.seconds,
            "lines": 0 if self.logs is None else self.logs.lines,
            "optimizer": self.optimizer.state_dict(),
            "meter": None if meter is None else meter.state(),
            "rng": _rng_state(),
            "records": self.measures.state(),
            "recipe_hash": self.recipe.hash,
        }
        self.checkpoints.save(self.step, weights, state)

    def _restore(self, weights: dict[str, torch.Tensor], state: dict[str, Any]) -> None:
        if state["recipe_hash"] != self.recipe.hash:
            raise RunError(f"the checkpoint is of recipe {state['recipe_hash']}, not of {self.recipe.hash}")
        plain = {name: value for name, value in weights.items() if not name.startswith("ema.")}
        self._load_network(plain, str(self.checkpoints.folder))
        if self.ema is not None:
            averaged = {name[4:]: value for name, value in weights.items() if name.startswith("ema.")}
            self.ema.module.load_state_dict(averaged)
        self.step, self.seconds = int(state["global_step"]), float(state["seconds"])
        self.measures.restore(state["records"])

    def _log(self, record: dict[str, Any]) -> None:
        if self.logs is not None:
            self.logs.write(record)


def _rng_state() -> dict[str, torch.Tensor]:
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def _restore_rng(state: dict[str, torch.Tensor]) -> None:
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
