"""One run of a recipe: its network, optimiser, position, measures and checkpoints. The loop moves it on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from timm.utils.model_ema import ModelEmaV3
from torch import nn

from tailwise.core.errors import RunError
from tailwise.core.rng import generator
from tailwise.data.plan import EpochPlan, check_batches, make_plan
from tailwise.data.source import BatchSource
from tailwise.engine.check_samplers import check_samplers
from tailwise.engine.checkpoint import Checkpoints, load_weights, not_finite
from tailwise.engine.class_losses import CLASS_LOSSES, record_of
from tailwise.engine.features import training_features
from tailwise.engine.measure import Logs, Measures
from tailwise.engine.optim import check_lr_factors, make_optimizer, restore_optimizer
from tailwise.engine.prefix import Prefixes
from tailwise.engine.prepare import Prepared
from tailwise.engine.recipe import Recipe, Stage
from tailwise.engine.run_folder import RunFolder
from tailwise.engine.runtime import Runtime
from tailwise.engine.span import StageSpan, spans
from tailwise.engine.start_from import check_start_from, part_with
from tailwise.engine.step import EpochMeter, NotFiniteLoss, check_finite
from tailwise.engine.task import Task
from tailwise.engine.trainable import enter_modes, select_trainable
from tailwise.evaluation.evaluate import EvaluationSplit
from tailwise.models.network import Network
from tailwise.precompute.base import BeforeStage
from tailwise.precompute.cam_bank import CamBank
from tailwise.precompute.confusion import Confusion
from tailwise.precompute.feature_bank import FeatureBank


@dataclass(frozen=True, eq=False)
class EpochWork:
    """What an executor gets for one epoch of one run.

    Attributes:
        plan: This process's share of the epoch.
        rates: The learning rate of every step.
        meter: Where losses and hits are counted; its ``done`` is the step to begin with.
    """

    plan: EpochPlan
    rates: list[float]
    meter: EpochMeter


class Training:
    """One run in a folder.

    Args:
        recipe: With its data fingerprint filled in.
        prepared: Its images.
        source: Training batches.
        split: Evaluation batches.
        runtime: Device, precision, processes.
        folder: Claimed for this run.
        prefixes: Where the ends of stages are kept for other runs; None keeps none.
    """

    def __init__(
        self,
        recipe: Recipe,
        prepared: Prepared,
        source: BatchSource,
        split: EvaluationSplit,
        runtime: Runtime,
        folder: RunFolder,
        prefixes: Prefixes | None = None,
    ) -> None:
        self.recipe, self.prepared, self._images = recipe, prepared, source
        self.runtime, self.folder, self.prefixes = runtime, folder, prefixes
        self.labels, self.stats = prepared.index.labels, prepared.index.stats
        #: What a person should know of the data and the samplers before the run starts.
        self.notes = check_samplers(recipe, self.stats)
        for stage in recipe.stages:
            check_batches(stage, runtime.world)
        self.spans = spans(recipe.stages, prepared.index.stats.num_images)
        self.total_steps = sum(span.steps for span in self.spans)
        self.total_epochs = self.spans[-1].first_epoch + self.spans[-1].epochs
        features = partial(training_features, recipe=recipe, prepared=prepared, runtime=runtime)
        self.measures = Measures(recipe.evaluate, split, self.stats, runtime, self.total_epochs, features)
        seed = int(generator(recipe.seed, "initial weights").integers(2**62))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.task = Task(recipe, self.stats, runtime.sum, runtime.world)
        for stage in recipe.stages:
            self.task.check(stage)
            if stage.optim is not None:
                check_lr_factors(stage.optim, [name for name, _ in self.task.network.named_parameters()])
        context = (recipe, prepared, source, runtime, folder.path)
        self.features = FeatureBank(*context)
        self.before: tuple[BeforeStage, ...] = (CamBank(*context), Confusion(*context), self.features)
        for item in self.before:
            item.check(self.task.network)
        for posthoc in recipe.evaluate.posthoc:
            posthoc.check(self.task.network.head)
        self.dtype = torch.float64 if recipe.precision == "fp64" else torch.float32
        self.task.to(runtime.device, self.dtype)
        self.network = self.task.network
        for stage in reversed(recipe.stages):
            select_trainable(self.network, stage)  # refuses a pattern that fits nothing now, not when its stage begins
        self.ema = ModelEmaV3(self.network, decay=recipe.ema) if recipe.ema is not None else None
        self.checkpoints = Checkpoints(folder.path)
        if self.checkpoints.newest() is None:
            check_start_from(recipe.stages, self.network)
        self.optimizer: torch.optim.Optimizer | None = None
        #: Position: the stage, the epoch of it that is next or running, and the steps of the whole run so far.
        self.stage_number, self.epoch, self.step = 0, 0, 0
        self.seconds, self.startup_seconds = 0.0, 0.0
        self.executor, self.at_once = "eager", 1
        self.meter: EpochMeter | None = None
        self.logs: Logs | None = None
        self._entered = -1
        self._saved_step = -1
        self._state: dict[str, Any] | None = None
        self._next: EpochPlan | None = None

    @property
    def evaluated(self) -> nn.Module:
        """The network that is measured and saved: the averaged one where the recipe asks for an average."""
        return self.network if self.ema is None else self.ema.module

    @property
    def source(self) -> BatchSource:
        """Where the stage's batches come from: images, or feature maps that were computed when it began."""
        return self.features.found or self._images

    @property
    def stage(self) -> Stage:
        """The stage of the next or running epoch."""
        return self.recipe.stages[self.stage_number]

    @property
    def span(self) -> StageSpan:
        """Its length and place."""
        return self.spans[self.stage_number]

    @property
    def finished(self) -> bool:
        """Whether every epoch of every stage is done."""
        return self.stage_number >= len(self.spans)

    @property
    def entering(self) -> bool:
        """Whether the next epoch needs :meth:`enter` first."""
        return not self.finished and self._entered != self.stage_number

    @property
    def images_per_step(self) -> int:
        """Images of a step that go through the network, over all streams, views and processes."""
        return self.stage.images_per_step

    @property
    def mean_images_per_step(self) -> float:
        """The same, averaged over the steps of all stages: what a run costs beyond its number of steps."""
        images = sum(
            span.steps * stage.images_per_step for span, stage in zip(self.spans, self.recipe.stages, strict=True)
        )
        return images / self.total_steps

    @property
    def epoch_label(self) -> str:
        """The running epoch of all epochs, for people."""
        return f"{self.span.first_epoch + self.epoch + 1}/{self.total_epochs}"

    def begin(self, *, resume: bool) -> None:
        """Opens the logs; with ``resume``, takes up the newest checkpoint when there is one.

        Raises:
            RunError: A checkpoint is damaged or of another recipe, or the folder cannot be written.
        """
        loaded = self.checkpoints.load() if resume else None
        self._state = loaded[1] if loaded else None
        self.logs = Logs(
            self.folder.path,
            0 if self._state is None else int(self._state["lines"]),
            tensorboard=self.recipe.run.tensorboard,
            is_main=self.runtime.is_main,
        )
        if loaded is None:
            return
        weights, state = loaded
        if state["recipe_hash"] != self.recipe.hash:
            raise RunError(f"the checkpoint is of recipe {state['recipe_hash']}, not of {self.recipe.hash}")
        plain = {name: value for name, value in weights.items() if not name.startswith("ema.")}
        self._load_network(plain, str(self.checkpoints.folder))
        if self.ema is not None:
            averaged = {name[4:]: value for name, value in weights.items() if name.startswith("ema.")}
            self.ema.module.load_state_dict(averaged)
        self.stage_number, self.epoch = int(state["stage"]), int(state["epoch"])
        self.step, self.seconds = int(state["global_step"]), float(state["seconds"])
        self._saved_step = self.step
        self.measures.restore(state["records"])
        self.runtime.restore_precision(state["precision"])
        check_start_from(self.recipe.stages, self.network, self.stage_number + bool(state["entered"]))

    def enter(self) -> None:
        """Puts the stage's components, weights and optimiser in place."""
        number, stage = self.stage_number, self.stage
        inside = self._state is not None and bool(self._state["entered"])
        if not inside:
            self._reset(number, stage)
        self.task.enter(stage)
        self.task.to(self.runtime.device, self.dtype)
        if stage.optim is not None or self.optimizer is None:
            # After a resume the optimiser that is carried on holds what the stage that began it trained.
            owner = self.recipe.stages[self.span.owner]
            if owner.optim is None:
                raise RunError(f"stage {number} has no optimiser to carry on")
            select_trainable(self.network, owner)
            names, parameters = zip(*self.network.named_parameters(), strict=True)
            self.optimizer = make_optimizer(owner.optim, parameters, names)
        select_trainable(self.network, stage)
        held = {id(item) for group in self.optimizer.param_groups for item in group["params"]}
        if any(item.requires_grad and id(item) not in held for item in self.network.parameters()):
            raise RunError(
                f"stage {number} trains parameters that the optimiser it carries on does not hold; give it `optim`"
            )
        if self._state is not None and (inside or stage.optim is None):
            restore_optimizer(self.optimizer, self._state["optimizer"])
        enter_modes(self.network, stage)
        for item in self.before:
            record = item.enter(number, cast(Network, self.evaluated), self.task, resumed=inside)
            if record is not None:
                self._log({"event": item.event, "stage": number, "step": self.step, **record})
        self._entered = number

    def begin_epoch(self) -> EpochWork:
        """The work of the epoch at hand, from its middle after a resume."""
        span, runtime = self.span, self.runtime
        steps = span.steps_in(self.epoch)
        plan = self._next or self.plan_of(self.epoch)
        self._next = None
        meter = EpochMeter(steps, runtime.device)
        place = (self.recipe.seed, self.stage_number, self.epoch, "network", runtime.rank)
        state, self._state = self._state, None
        torch.manual_seed(int(generator(*place).integers(2**62)))
        if state is not None and state["meter"] is not None:
            meter.restore(state["meter"], is_main=runtime.is_main)
            if runtime.world == 1 and state["world"] == 1:
                _restore_rng(state["rng"])
            else:
                # The generators of the other processes are not in the checkpoint: a seed of this very place instead.
                torch.manual_seed(int(generator(*place, meter.done).integers(2**62)))
        enter_modes(self.network, self.stage)
        self.meter = meter
        stages = self.recipe.stages
        rates = [span.learning_rate(stages, self.epoch, step / steps) for step in range(steps)]
        return EpochWork(plan, rates, meter)

    def plan_of(self, epoch: int) -> EpochPlan:
        """This process's share of the plan of an epoch of the stage."""
        span = self.span
        return make_plan(
            self.stage,
            self.recipe.data,
            self.labels,
            self.stats,
            seed=self.recipe.seed,
            stage_number=self.stage_number,
            epoch=epoch,
            progress=epoch / max(1, span.epochs - 1),
            steps=span.steps_in(epoch),
            sizes=self.prepared.sizes,
            facts=self.task.facts,
        ).rank_slice(self.runtime.rank, self.runtime.world)

    def plan_ahead(self) -> None:
        """Draws the plan of the stage's next epoch while the device is busy."""
        if self._next is None and self.epoch + 1 < self.span.epochs:
            self._next = self.plan_of(self.epoch + 1)

    def look(self) -> tuple[float, float]:
        """Mean loss and accuracy in percent of the running epoch so far; waits for the device.

        Raises:
            NotFiniteLoss: Names the first step whose loss is not finite.
        """
        if self.meter is None:
            raise RuntimeError("no epoch is running")
        losses = check_finite(self.meter, self.runtime, self.step)
        first = next(iter(self.stage.streams.values())).images
        accuracy = 100 * int(self.runtime.sum(self.meter.hits)) / (self.meter.done * first)
        return sum(losses) / len(losses), accuracy

    def end_epoch(self, speed: float) -> None:
        """Logs the epoch, evaluates when it is time, and moves on to the next epoch or stage.

        Raises:
            NotFiniteLoss: As :meth:`look`.
        """
        loss, accuracy = self.look()
        meter = self.meter
        assert meter is not None
        done = self.span.first_epoch + self.epoch + 1
        sums = {name: self.runtime.sum(value) for name, value in meter.parts.items()}
        by_class = sums.pop(CLASS_LOSSES, None)
        self._log(
            {
                "event": "epoch",
                "stage": self.stage_number,
                "epoch": done,
                "step": self.step,
                "loss": loss,
                "accuracy": accuracy,
                "lr": self.span.learning_rate(self.recipe.stages, self.epoch, 0.0),
                "images_per_second": speed,
                "seconds": self.seconds,
                "parts": {name: float(value) / meter.done for name, value in sums.items()},
            }
        )
        if by_class is not None:
            place = {"stage": self.stage_number, "epoch": done, "step": self.step}
            self._log({"event": "class losses", **place, **record_of(by_class)})
        ends = self.epoch + 1 == self.span.epochs and self.stage_number + 1 < len(self.spans)
        if self.measures.due(done) or ends:
            record = self.measures.evaluate(self.evaluated, done)
            self._log({"event": "evaluation", "stage": self.stage_number, "step": self.step, **record})
        if ends:
            self.measures.end_stage(self.stage_number)
        self.meter = None
        self.epoch += 1
        if self.epoch >= self.span.epochs:
            self.stage_number, self.epoch = self.stage_number + 1, 0
            if self.prefixes is not None and not self.finished and self.runtime.is_main:
                self._check_weights()
                self.prefixes.keep(self.recipe, self.stage_number, self.folder.path, *self._checkpoint(None))

    def save(self) -> None:
        """A checkpoint from which training goes on at the position at hand; every process calls it.

        Raises:
            NotFiniteLoss: A weight is no longer finite; the checkpoint before stays.
            RunError: The folder cannot be written.
        """
        if self.step == self._saved_step:
            return
        self._check_weights()
        meter = None if self.meter is None else self.meter.state(self.runtime.sum)
        self._saved_step = self.step
        if not self.runtime.is_main or self.optimizer is None:
            return
        self.checkpoints.save(self.step, *self._checkpoint(meter))

    def _check_weights(self) -> None:
        bad = not_finite(self.network.state_dict())
        if bad is not None:
            raise NotFiniteLoss(f"the weights {bad!r} are no longer finite at step {self.step}; no checkpoint was made")

    def _checkpoint(self, meter: Any) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """Weights and state of the position at hand."""
        assert self.optimizer is not None
        weights = dict(self.network.state_dict())
        if self.ema is not None:
            weights.update({f"ema.{name}": value for name, value in self.ema.module.state_dict().items()})
        return weights, {
            "stage": self.stage_number,
            "entered": self._entered == self.stage_number,
            "epoch": self.epoch,
            "global_step": self.step,
            "seconds": self.seconds,
            "lines": 0 if self.logs is None else self.logs.lines,
            "optimizer": self.optimizer.state_dict(),
            "meter": meter,
            "precision": self.runtime.precision_state(),
            "rng": _rng_state(),
            "world": self.runtime.world,
            "records": self.measures.state(),
            "recipe_hash": self.recipe.hash,
        }

    def _reset(self, number: int, stage: Stage) -> None:
        """Weights that a stage wants before it starts: from a file, or parts of them anew."""
        if stage.start_from is not None:
            weights = load_weights(Path(stage.start_from))
            self._load_network(weights, stage.start_from, part_with(weights, self.network))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(generator(self.recipe.seed, number, "reset").integers(2**62)))
            if "backbone" in stage.reset:
                self.network.backbone = self.task.new_backbone()
            if "head" in stage.reset:
                before = self.network.head
                self.network.head = self.task.new_head(self.network.backbone)
                if "backbone" not in stage.reset:
                    self.network.head.keep_extractor(before)
        if stage.reset or stage.start_from is not None:
            self.network.to(self.runtime.device, self.dtype)
            if self.ema is not None:
                self.ema.set(self.network)

    def _load_network(self, weights: dict[str, torch.Tensor], where: str, part: Network | None = None) -> None:
        try:
            (part or self.network).load_state_dict(weights)
        except RuntimeError as error:
            raise RunError(f"the weights in {where} do not fit the recipe's network: {error}") from error

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
