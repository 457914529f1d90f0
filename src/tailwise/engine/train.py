"""From recipes to finished run folders: prepare the data, claim the folders, train, write results and pages."""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from tailwise.core.errors import RunError
from tailwise.data.source import BatchSource
from tailwise.engine.buffers import Gathers
from tailwise.engine.execute import check_executor, why_not_captured
from tailwise.engine.loop import Loop
from tailwise.engine.memory import reset_peak
from tailwise.engine.prefix import Prefixes
from tailwise.engine.prepare import Prepared, prepare
from tailwise.engine.progress import Reporter, Silent
from tailwise.engine.recipe import Data, Recipe
from tailwise.engine.result import draw, write_result
from tailwise.engine.run_folder import RunFolder, default_folder
from tailwise.engine.runtime import Runtime
from tailwise.engine.signals import stop_signals
from tailwise.engine.sources import make_source, make_split
from tailwise.engine.step import NotFiniteLoss
from tailwise.engine.threads import cpu_threads
from tailwise.engine.together import Job, group, most_that_fit, split_evenly
from tailwise.engine.training import Training
from tailwise.models.backbone import check_backbone


class DataCache:
    """The last prepared data, so that runs that differ only in their method decode the images once."""

    def __init__(self) -> None:
        self._key: tuple[Data, str] | None = None
        self._prepared: Prepared | None = None

    def get(self, data: Data, runtime: Runtime, reporter: Reporter) -> Prepared:
        """Prepared data for a recipe's data section."""
        key = (data, runtime.device.type)
        if self._prepared is None or self._key != key:
            self._key, self._prepared = key, prepare(data, runtime.device, reporter.line)
        return self._prepared


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of one of several runs.

    Attributes:
        recipe: As it was asked for.
        folder: Its run folder.
        error: Why it did not finish, or None.
    """

    recipe: Recipe
    folder: Path
    error: NotFiniteLoss | None


def train(
    recipe: Recipe,
    out: Path | None = None,
    *,
    base: Path = Path("runs"),
    resume: bool = False,
    reporter: Reporter | None = None,
    cache: DataCache | None = None,
    command: str = "",
) -> Path:
    """Trains a recipe and writes its run folder.

    Args:
        recipe: What to train.
        out: The run's folder; ``<base>/<data>/<recipe>-<hash>/seed<seed>`` when not given.
        base: Where that default folder lies.
        resume: Go on from the newest checkpoint in the folder, or start when there is none.
        reporter: What a person sees; nothing by default.
        cache: Shared between runs on the same data.
        command: Recorded in the result.

    Returns:
        The run's folder. When it holds the finished result of this very recipe and seed, nothing is trained.

    Raises:
        TailwiseError: Anything in the data, the recipe or the folder that a person can mend, before training starts;
            a loss that is not finite, a full disk or an interruption while it goes on.
    """
    (outcome,) = train_many([recipe], [out], base=base, resume=resume, reporter=reporter, cache=cache, command=command)
    if outcome.error is not None:
        raise outcome.error
    return outcome.folder


def train_many(
    recipes: Sequence[Recipe],
    outs: Sequence[Path | None] | None = None,
    *,
    base: Path = Path("runs"),
    resume: bool = False,
    reporter: Reporter | None = None,
    cache: DataCache | None = None,
    command: str = "",
    prefixes: Path | None = None,
) -> list[Outcome]:
    """Trains several recipes, side by side on one GPU where their epochs have equal shapes.

    Args:
        recipes: What to train; the same recipe with several seeds is several recipes.
        outs: The run's folder for each; see :func:`train`.
        base: Where default folders lie.
        resume: Go on from the newest checkpoints.
        reporter: What a person sees; nothing by default.
        cache: Shared between calls on the same data.
        command: Recorded in the results.
        prefixes: A folder where the ends of stages are kept, so that runs which begin alike train these stages once;
            needs ``resume``. Results are those of runs that share nothing.

    Returns:
        In the order of ``recipes``. A run whose loss stops being finite does not end the others.

    Raises:
        TailwiseError: As :func:`train`, but for losses that are not finite.
    """
    reporter, cache = reporter or Silent(), cache or DataCache()
    for recipe in recipes:
        check_backbone(recipe.backbone.name)
    outcomes: dict[int, Outcome] = {}
    wishes: dict[tuple[Data, Runtime], list[int]] = {}
    runtimes: dict[object, Runtime] = {}
    for number, recipe in enumerate(recipes):
        run = recipe.run
        key = (run.device, recipe.precision, run.strategy, run.devices, run.nodes)
        if key not in runtimes:
            runtimes[key] = Runtime(
                run.device, recipe.precision, strategy=run.strategy, devices=run.devices, nodes=run.nodes
            )
        wishes.setdefault((recipe.data, runtimes[key]), []).append(number)
    with stop_signals() as stop:
        for (data, runtime), numbers in wishes.items():
            with runtime.guarded():
                prepared = cache.get(data, runtime, reporter)
                jobs: list[Job] = []
                for number in numbers:
                    recipe = dataclasses.replace(recipes[number], data=prepared.data)
                    out = None if outs is None else outs[number]
                    job = Job(number, recipe, prepared, RunFolder(out or default_folder(recipe, base)))
                    if any(outcome.folder == job.folder.path for outcome in outcomes.values()):
                        raise RunError(
                            f"two of the runs would go to {job.folder.path}; give each a seed or a folder of its own"
                        )
                    job.folder.check(recipe, resume=resume)
                    outcomes[number] = Outcome(recipe, job.folder.path, None)
                    if job.folder.finished:
                        _already(job, runtime, reporter)
                    else:
                        jobs.append(job)
                shared = _shared(prefixes, prepared, runtime) if resume else None
                crew = _Crew(runtime, prepared, reporter, stop.is_set, command, shared)
                while jobs:
                    now, jobs = crew.wave(jobs)
                    for jobs_in_step in group(now):
                        for number, error in crew.train(jobs_in_step, resume=resume).items():
                            outcomes[number] = dataclasses.replace(outcomes[number], error=error)
    return [outcomes[number] for number in range(len(recipes))]


def _shared(folder: Path | None, prepared: Prepared, runtime: Runtime) -> Prefixes | None:
    """Where stages are shared; several processes keep a state of their own each and share none."""
    if folder is None or runtime.world > 1:
        return None
    return Prefixes(folder, prepared.index.stats.num_images, runtime.device.type)


def _already(job: Job, runtime: Runtime, reporter: Reporter) -> None:
    if runtime.is_main and not (job.folder.path / "report.html").exists():
        draw(job.folder)
    reporter.line(f"{job.folder.path} holds the finished result of this recipe and seed; nothing to train")


@dataclass(frozen=True, eq=False)
class _Crew:
    """Trains jobs on one data set with one runtime."""

    runtime: Runtime
    prepared: Prepared
    reporter: Reporter
    stop: Callable[[], bool]
    command: str
    prefixes: Prefixes | None

    def wave(self, jobs: Sequence[Job]) -> tuple[list[Job], list[Job]]:
        """Jobs to train now and jobs that wait for stages which these share with them."""
        if self.prefixes is None:
            return list(jobs), []
        now, later = self.prefixes.waves(jobs)
        for job in now:
            count = self.prefixes.seed(job)
            if count:
                begun = "the first stage" if count == 1 else f"the first {count} stages"
                self.reporter.line(
                    f"{job.recipe.name} · seed {job.recipe.seed}: goes on after {begun} of a recipe that begins alike"
                )
        return now, later

    def train(self, jobs: Sequence[Job], *, resume: bool) -> dict[int, NotFiniteLoss]:
        """Jobs of one shape, as many at a time as fit; the errors of those that did not finish, by their number."""
        first = jobs[0].recipe
        failed: dict[int, NotFiniteLoss] = {}
        with cpu_threads(first):
            source = make_source(first, self.prepared, self.runtime)
            split = make_split(first, self.prepared, self.runtime)
            check_executor(first, source, self.runtime)

            def begin(job: Job) -> Training:
                return Training(job.recipe, self.prepared, source, split, self.runtime, job.folder, self.prefixes)

            waiting = split_evenly(jobs, 1 if len(jobs) == 1 else self._most(begin(jobs[0]), source))
            while waiting:
                part = waiting.pop(0)
                half = len(part) // 2
                try:
                    failed |= self._side_by_side(part, [begin(job) for job in part], resume=resume)
                    continue
                except torch.cuda.OutOfMemoryError as error:
                    if not half:
                        raise RunError(f"the GPU's memory is not enough: {str(error).splitlines()[0]}") from error
                # Not before here, where the error no longer holds the large group.
                gc.collect()
                torch.cuda.empty_cache()
                self.reporter.line(f"{len(part)} runs at once do not fit on the GPU; going on with fewer")
                # What the larger group saved is gone on with; a run that had left it stands somewhere else.
                waiting[:0], resume = [*group(part[:half]), *group(part[half:])], True
        return failed

    def _side_by_side(
        self, jobs: Sequence[Job], trainings: list[Training], *, resume: bool
    ) -> dict[int, NotFiniteLoss]:
        """Trains jobs in lockstep; the errors of those that did not finish, by their number."""
        reset_peak(self.runtime.device)
        try:
            if self.runtime.is_main:
                for job in jobs:
                    job.folder.claim(job.recipe, resume=resume)
                    self.prepared.index.save(job.folder.path / "index.json")
            self.runtime.barrier()
            self.reporter.line(self._about(len(jobs)))
            for note in dict.fromkeys(note for training in trainings for note in training.notes):
                self.reporter.line(note)
            for training in trainings:
                training.begin(resume=resume)
            try:
                failed = Loop(trainings, self.runtime, self.reporter, self.stop).run()
            except NotFiniteLoss as error:
                failed = {0: error}
            for number, training in enumerate(trainings):
                if number not in failed:
                    self._finish(training)
            self.runtime.barrier()
        finally:
            for job in jobs:
                job.folder.release()
        return {jobs[number].number: error for number, error in failed.items()}

    def _finish(self, training: Training) -> None:
        if self.runtime.is_main:
            write_result(training, self.command)
        record = (training.measures.last or {}).get("record", {})
        self.reporter.line(
            f"{training.recipe.name} · seed {training.recipe.seed}: top-1 {record.get('top1', 0.0):.1f} % after epoch "
            f"{record.get('epoch')}, {training.seconds:.0f} s and {training.startup_seconds:.0f} s to start"
        )

    def _about(self, runs: int) -> str:
        stats, prepared = self.prepared.index.stats, self.prepared
        together = f"; {runs} runs at once" if runs > 1 else ""
        return (
            f"{prepared.splits.train.source}: {stats.num_images:,} training images in {stats.num_classes} classes of "
            f"{stats.counts.max():,} to {stats.counts.min():,}, {len(prepared.eval_positions):,} for evaluation; "
            f"{'resident' if prepared.resident else 'host path'} on {self.runtime.device_name}{together}"
        )

    def _most(self, training: Training, source: BatchSource) -> int:
        """How many runs of this kind to train at once."""
        recipe, run = training.recipe, training.recipe.run
        # With fp16 the runs would share one loss scale.
        if self.runtime.world > 1 or not isinstance(source, Gathers) or recipe.precision == "fp16":
            if run.at_once is not None and run.at_once > 1:
                self.reporter.line(
                    "runs are trained one after the other: side by side needs one process, images that are resident "
                    "on its device, and a precision other than fp16"
                )
            return 1
        if run.at_once is not None:
            return run.at_once
        if run.executor in ("eager", "compiled") or why_not_captured(recipe, source, self.runtime) is not None:
            return 1
        torch.cuda.empty_cache()  # what PyTorch keeps of runs before does not count as free
        return most_that_fit(training.network, recipe, torch.cuda.mem_get_info(self.runtime.device)[0])
