"""The loop: for every stage, for every epoch, for every row of the plan one step; measure, save, resume.

Several trainings go through it in lockstep when their epochs have equal shapes; most often there is one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import torch

from tailwise.core.errors import RunError
from tailwise.engine.execute import choose_executor
from tailwise.engine.progress import Reporter
from tailwise.engine.runtime import Runtime
from tailwise.engine.step import Executor, NotFiniteLoss
from tailwise.engine.training import EpochWork, Training


class Interrupted(RunError):
    """The run was asked to stop; a checkpoint was kept."""


class Loop:
    """Moves trainings through their epochs.

    Args:
        trainings: Begun, at one and the same position, with epochs of equal shapes.
        runtime: Device, precision, processes.
        reporter: What a person sees.
        stop: Asked after every step; true saves a checkpoint and stops.
    """

    def __init__(
        self, trainings: Sequence[Training], runtime: Runtime, reporter: Reporter, stop: Callable[[], bool]
    ) -> None:
        if len({training.step for training in trainings}) > 1:
            places = ", ".join(str(training.step) for training in trainings)
            raise RunError(
                f"the runs stand at different steps ({places}), so they cannot go on side by side; start again"
            )
        self.live = list(trainings)
        self.runtime, self.reporter, self.stop = runtime, reporter, stop
        self.failed: dict[int, NotFiniteLoss] = {}
        self._numbers = {id(training): number for number, training in enumerate(trainings)}
        self._executor: Executor | None = None
        self._running = 0
        self._saved_at = self._since = 0.0

    def run(self) -> dict[int, NotFiniteLoss]:
        """Trains to the end.

        Returns:
            By its number, each of several trainings whose loss stopped being finite; the others went on.

        Raises:
            NotFiniteLoss: The only training's loss or a weight stopped being finite; the last good checkpoint stays.
            Interrupted: ``stop`` said so.
            RunError: A folder cannot be written, or a checkpoint is damaged.
        """
        first = self.live[0]
        self._saved_at = time.monotonic()
        self._since = time.perf_counter()
        self.reporter.start(self._title(), first.total_steps, first.step)
        try:
            while self.live and not self.live[0].finished:
                self._epoch()
            self._save()
        finally:
            self._close()
            self.reporter.stop()
        return self.failed

    def _epoch(self) -> None:
        """One epoch of every training, from its middle when it was resumed there."""
        earlier = self._executor
        executor = self._enter()
        trainings = list(self.live)
        work = [training.begin_epoch() for training in trainings]
        executor.prepare(work)
        for training in trainings:
            training.executor, training.at_once = executor.kind, len(trainings)
        self._tick(startup=executor is not earlier)
        begun, before, first = time.perf_counter(), work[0].meter.done, trainings[0]
        looked, looked_at = begun, before
        rows, steps, log_every = len(work) * first.images_per_step, len(work[0].rates), first.recipe.run.log_every
        for done in executor.steps(work):
            for training in trainings:
                training.step += 1
                if training.step == 1 and training.ema is not None:
                    training.ema.set(training.network)
                    # A captured step runs on a stream of its own, which would not wait for this.
                    self.runtime.synchronize()
            at_mark = done % log_every == 0 and not executor.runs_ahead
            stopping, saving = self._wishes(at_mark)
            if at_mark or stopping or saving:
                loss, accuracy = self._look()
                now = time.perf_counter()
                speed = (done - looked_at) * rows / max(now - looked, 1e-9)
                looked, looked_at = now, done
                self.reporter.update(first.step, first.epoch_label, loss, accuracy, speed)
            if done == steps:
                break
            if saving or stopping:
                self._tick()
                self._save()
            if stopping:
                self._interrupt(first)
        for training in trainings:
            training.plan_ahead()
        self.runtime.synchronize()
        elapsed = time.perf_counter() - begun
        self._tick()
        self._end(trainings, work, before, elapsed)

    def _end(self, trainings: Sequence[Training], work: Sequence[EpochWork], before: int, elapsed: float) -> None:
        first, label = trainings[0], trainings[0].epoch_label
        speed = (len(work[0].rates) - before) * first.images_per_step / max(elapsed, 1e-9)
        loss, accuracy = self._look()
        self.reporter.update(first.step, label, loss, accuracy, speed * len(work))
        for training in list(self.live):
            training.end_epoch(speed)
        self._tick()
        if not self.live or self.live[0].finished:
            return
        stopping = self._agree(self.stop())
        if stopping or self._agree(self._due()):
            self._save()
        if stopping:
            self._interrupt(first)

    def _enter(self) -> Executor:
        """The executor for the epoch at hand: a new one when a training enters a stage or one has dropped out."""
        changed = any(training.entering for training in self.live) or self._running != len(self.live)
        if self._executor is None or changed:
            self._close()
            for training in self.live:
                if training.entering:
                    training.enter()
            self._executor = choose_executor(self.live, self.runtime, self.reporter.line)
            self._running = len(self.live)
        return self._executor

    def _look(self) -> tuple[float, float]:
        """Mean loss and accuracy of the running epoch; of several trainings, one that is not finite drops out."""
        seen: list[tuple[float, float]] = []
        for training in list(self.live):
            try:
                seen.append(training.look())
            except NotFiniteLoss as error:
                if len(self._numbers) == 1:
                    raise
                self._drop(training, error)
        if not seen:
            return float("nan"), 0.0
        return sum(loss for loss, _ in seen) / len(seen), sum(accuracy for _, accuracy in seen) / len(seen)

    def _drop(self, training: Training, error: NotFiniteLoss) -> None:
        recipe = training.recipe
        self.failed[self._numbers[id(training)]] = error
        self.live.remove(training)
        self.reporter.line(f"{recipe.name} · seed {recipe.seed}: {error}")

    def _wishes(self, at_mark: bool) -> tuple[bool, bool]:
        """Whether to stop and whether to save now; several processes agree on it at every look."""
        if self.runtime.world == 1:
            return self.stop(), self._due()
        return (self._agree(self.stop()), self._agree(self._due())) if at_mark else (False, False)

    def _due(self) -> bool:
        """Whether the last checkpoint is old enough for a new one."""
        return time.monotonic() - self._saved_at >= self.live[0].recipe.run.checkpoint_seconds if self.live else False

    def _agree(self, wish: bool) -> bool:
        """Whether any process wishes it."""
        if self.runtime.world == 1:
            return wish
        return bool(self.runtime.sum(torch.tensor(float(wish), device=self.runtime.device)) > 0)

    def _save(self) -> None:
        for training in list(self.live):
            try:
                training.save()
            except NotFiniteLoss as error:
                if len(self._numbers) == 1:
                    raise
                self._drop(training, error)
        self._saved_at = time.monotonic()

    def _interrupt(self, first: Training) -> None:
        raise Interrupted(f"stopped at step {first.step} of {first.total_steps}; a checkpoint was kept")

    def _tick(self, *, startup: bool = False) -> None:
        """Counts the time since the last tick as spent on the runs; several runs side by side share it evenly."""
        now = time.perf_counter()
        for training in self.live:
            share = (now - self._since) / len(self.live)
            if startup:
                training.startup_seconds += share
            else:
                training.seconds += share
        self._since = now

    def _close(self) -> None:
        if self._executor is not None:
            self._executor.close()
            self._executor = None

    def _title(self) -> str:
        names = list(dict.fromkeys(training.recipe.name for training in self.live))
        seeds = list(dict.fromkeys(str(training.recipe.seed) for training in self.live))
        return f"{', '.join(names)} · seed{'s' if len(seeds) > 1 else ''} {', '.join(seeds)}"
