"""Steps as CUDA graphs: compiled, captured once a stage, and replayed without the host's help.

A whole step of a small network is a hundred short kernels; launching them one by one takes longer than running them.
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from tailwise.core.errors import RunError, TailwiseError
from tailwise.engine.compile_cache import keep_compiled
from tailwise.engine.program import StepProgram
from tailwise.engine.runtime import Runtime
from tailwise.engine.step import EagerExecutor
from tailwise.engine.training import EpochWork, Training

T = TypeVar("T")

#: Steps before the capture: compilation, cuDNN's choices and the optimiser's first state happen there.
WARM_UP = 3
#: Steps that the host may be ahead of the device, so that an interruption is answered soon.
AHEAD = 64


class Snapshot:
    """What the warm-up steps must not change: taken before them, put back after.

    Args:
        program: Its state is copied.
    """

    def __init__(self, program: StepProgram) -> None:
        self.program = program
        self.copies: list[tuple[Tensor, Tensor]] = [(tensor, tensor.clone()) for tensor in program.state()]
        self.rng = torch.get_rng_state()
        self.device_rng = torch.cuda.get_rng_state() if torch.cuda.is_available() else None

    def restore(self) -> None:
        """Puts everything back in place; state that did not exist before becomes zero, as it begins."""
        known = {tensor.data_ptr() for tensor, _ in self.copies}
        for tensor in self.program.state():
            if tensor.data_ptr() not in known:
                tensor.zero_()
        for tensor, copy in self.copies:
            tensor.copy_(copy)
        torch.set_rng_state(self.rng)
        if self.device_rng is not None:
            torch.cuda.set_rng_state(self.device_rng)


class Lane:
    """One program with its graph and its stream.

    Args:
        program: On a CUDA device, with an epoch in its buffers.
    """

    def __init__(self, program: StepProgram) -> None:
        self.program = program
        self.stream = torch.cuda.Stream()
        snapshot = Snapshot(program)
        try:
            self.stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self.stream), warnings.catch_warnings():
                # The optimiser remarks that it runs uncaptured, which is what a warm-up is.
                warnings.filterwarnings("ignore", message=".*capturable=True")
                for _ in range(WARM_UP):
                    program()
            torch.cuda.current_stream().wait_stream(self.stream)
        finally:
            torch.cuda.synchronize()
            snapshot.restore()
        self.graph = torch.cuda.CUDAGraph()
        self._capture()
        torch.cuda.synchronize()

    def _capture(self) -> None:
        first: list[Exception] = []
        try:
            # The outer context: some versions leave the capture's stream in use when the capture fails.
            with (
                torch.cuda.stream(torch.cuda.current_stream()),
                torch.cuda.graph(self.graph, stream=self.stream, capture_error_mode="thread_local"),
            ):
                try:
                    self.program()
                except Exception as error:
                    first.append(error)
                    raise
        except Exception:
            if first:
                # To end a capture that failed inside raises an error of its own, which does not say why.
                raise first[0] from None
            raise


class CapturedExecutor:
    """Replays of captured steps; ordinary steps when something cannot be captured.

    Args:
        trainings: Entered into their stages, with resident images on a CUDA device.
        runtime: Precision.
        say: Told why, when the capture is given up.
        stacked: All trainings in one program; otherwise each has a program and a stream of its own.
        forced: Fail instead of falling back.
    """

    def __init__(
        self,
        trainings: Sequence[Training],
        runtime: Runtime,
        say: Callable[[str], None],
        *,
        stacked: bool,
        forced: bool,
    ) -> None:
        self.trainings, self.runtime, self.say, self.forced = tuple(trainings), runtime, say, forced
        self.stacked = stacked
        self.lanes: list[Lane] = []
        self.eager: EagerExecutor | None = None

    @property
    def kind(self) -> str:
        """Eager after a fall-back."""
        return "captured" if self.eager is None else self.eager.kind

    @property
    def runs_ahead(self) -> bool:
        """Unless it fell back."""
        return self.eager is None

    def prepare(self, work: Sequence[EpochWork]) -> None:
        """Captures when the first epoch begins, and puts the epoch into the buffers.

        Raises:
            RunError: It cannot be captured and was forced.
            torch.cuda.OutOfMemoryError: Several trainings do not fit side by side.
        """
        if self.eager is not None:
            return
        if self.lanes:
            for lane, part in zip(self.lanes, self._parts(work), strict=True):
                lane.program.load(part)
            return
        keep_compiled()
        for compiled in (True, False):
            reason = self._try(work, compiled=compiled)
            if reason is None:
                return
            if compiled:
                self.say(f"the step could not be compiled ({reason}); capturing it as it is")
                continue
            if self.forced:
                raise RunError(f"--executor captured is not possible: {reason}; allowed here: auto, eager, compiled")
            self.say(f"the step could not be captured ({reason}); going on step by step")
        self.eager = EagerExecutor(self.runtime, self.trainings)

    def steps(self, work: Sequence[EpochWork]) -> Iterator[int]:
        """Runs the steps that are not done yet; yields the number of steps done after each."""
        if self.eager is not None:
            yield from self.eager.steps(work)
            return
        current = torch.cuda.current_stream()
        marks: deque[torch.cuda.Event] = deque()
        for lane in self.lanes:
            lane.stream.wait_stream(current)
        for done in range(work[0].meter.done + 1, len(work[0].rates) + 1):
            for lane in self.lanes:
                with torch.cuda.stream(lane.stream):
                    lane.graph.replay()
                current.wait_stream(lane.stream)
            if len(marks) == AHEAD:
                # Waits for a step long past, which leaves the device busy.
                marks.popleft().synchronize()
            mark = torch.cuda.Event()
            mark.record(current)
            marks.append(mark)
            for item in work:
                item.meter.done = done
            yield done

    def close(self) -> None:
        """Gives graphs and buffers back."""
        if self.lanes:
            torch.cuda.synchronize()
        programs = [lane.program for lane in self.lanes]
        self.lanes.clear()
        for program in programs:
            self._release(program)

    def _try(self, work: Sequence[EpochWork], *, compiled: bool) -> str | None:
        """Captures every lane; the reason when that fails, with everything as it was before."""
        programs: list[StepProgram] = []
        meters = [item.meter.copy() for item in work]
        try:
            for part, members in zip(self._parts(work), self._parts(self.trainings), strict=True):
                _set_capturable(members, True)
                programs.append(StepProgram(members, self.runtime, part, compiled=compiled))
                programs[-1].load(part)
                self.lanes.append(Lane(programs[-1]))
        except Exception as error:
            self.lanes.clear()
            for program in programs:
                self._release(program)
            for item, meter in zip(work, meters, strict=True):
                item.meter.show(meter)
            if isinstance(error, TailwiseError) or (
                isinstance(error, torch.cuda.OutOfMemoryError) and len(self.trainings) > 1
            ):
                raise
            return _first_line(error)
        return None

    def _release(self, program: StepProgram) -> None:
        program.close()
        _set_capturable(program.trainings, False)

    def _parts(self, items: Sequence[T]) -> list[Sequence[T]]:
        """All items for one lane, or one item for each."""
        return [items] if self.stacked else [[item] for item in items]


def _set_capturable(trainings: Sequence[Training], value: bool) -> None:
    """Optimisers of the Adam family count their steps on the host unless they are told."""
    for training in trainings:
        for group in training.optimizer.param_groups if training.optimizer is not None else ():
            if "capturable" in group:
                group["capturable"] = value


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
