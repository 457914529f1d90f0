"""Which executor runs the steps: chosen by itself, or forced and refused by ``--executor``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from tailwise.core.errors import RunError
from tailwise.data.source import BatchSource
from tailwise.engine.buffers import Gathers
from tailwise.engine.capture import CapturedExecutor
from tailwise.engine.compile_cache import keep_compiled
from tailwise.engine.program import StepProgram
from tailwise.engine.recipe import Recipe
from tailwise.engine.runtime import Runtime
from tailwise.engine.stack import why_not_stacked
from tailwise.engine.step import EagerExecutor, Executor
from tailwise.engine.training import EpochWork, Training

Say = Callable[[str], None]


def why_not_captured(recipe: Recipe, source: BatchSource, runtime: Runtime) -> str | None:
    """Why the steps of a recipe cannot be captured in a CUDA graph here, or None when they may be."""
    if runtime.device.type != "cuda":
        return f"the device is {runtime.device.type}, and only a CUDA device has graphs"
    if runtime.world > 1:
        return f"there are {runtime.world} processes, whose exchange of gradients stays outside"
    if not isinstance(source, Gathers):
        return "the images are not resident on the device"
    if recipe.precision == "fp16":
        return "the loss scaling of fp16 decides on the host whether a step counts"
    return None


def check_executor(recipe: Recipe, source: BatchSource, runtime: Runtime) -> None:
    """Refuses a forced executor that this run cannot have, before any work starts.

    Raises:
        RunError: With the reason.
    """
    reason = why_not_captured(recipe, source, runtime)
    if recipe.run.executor == "captured" and reason is not None:
        raise RunError(f"--executor captured is not possible: {reason}; allowed here: auto, eager, compiled")


def choose_executor(trainings: Sequence[Training], runtime: Runtime, say: Say) -> Executor:
    """An executor for trainings that have entered their stages.

    Captured when images are resident on a CUDA device and ``--executor`` is auto or captured. Several trainings of one
    of our own architectures are stacked; several others run on streams of their own, or in turn.
    """
    first = trainings[0]
    wanted = first.recipe.run.executor
    captured = wanted in ("auto", "captured") and why_not_captured(first.recipe, first.source, runtime) is None
    stacked = (
        len(trainings) > 1
        and wanted != "eager"
        and all(isinstance(training.source, Gathers) for training in trainings)
        and why_not_stacked([training.task for training in trainings]) is None
    )
    if captured:
        return CapturedExecutor(trainings, runtime, say, stacked=stacked, forced=wanted == "captured")
    if stacked and runtime.world == 1 and first.recipe.precision != "fp16":
        return StackedExecutor(trainings, runtime, compiled=wanted == "compiled")
    return EagerExecutor(runtime, trainings, compiled=wanted == "compiled")


class StackedExecutor:
    """Stacked trainings without a graph: what a CPU can do.

    Args:
        trainings: Entered into their stages, stackable, with resident images.
        runtime: Precision.
        compiled: Compile forward and backward.
    """

    kind, runs_ahead = "stacked", False

    def __init__(self, trainings: Sequence[Training], runtime: Runtime, *, compiled: bool) -> None:
        self.trainings, self.runtime, self.compiled = trainings, runtime, compiled
        self.program: StepProgram | None = None

    def prepare(self, work: Sequence[EpochWork]) -> None:
        """Stacks when the first epoch begins, and puts the epoch into the buffers."""
        if self.program is None:
            if self.compiled:
                keep_compiled()
            self.program = StepProgram(self.trainings, self.runtime, work, compiled=self.compiled)
        self.program.load(work)

    def steps(self, work: Sequence[EpochWork]) -> Iterator[int]:
        """Runs the steps that are not done yet; yields the number of steps done after each."""
        assert self.program is not None
        for done in range(work[0].meter.done + 1, len(work[0].rates) + 1):
            self.program()
            for item in work:
                item.meter.done = done
            yield done

    def close(self) -> None:
        """Unstacks."""
        if self.program is not None:
            self.program.close()
            self.program = None
