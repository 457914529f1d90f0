"""Steps one after the other: run batches through task, backward and optimiser, keeping the numbers on the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

import torch
from torch import Tensor, nn

from tailwise.core.errors import RunError
from tailwise.core.types import Batch
from tailwise.engine.compile_cache import keep_compiled
from tailwise.engine.optim import set_learning_rate
from tailwise.engine.runtime import Runtime

if TYPE_CHECKING:
    from tailwise.engine.training import EpochWork, Training


class EpochMeter:
    """Loss, parts and hits of an epoch on the device; read seldom, because reading waits for the device.

    Args:
        steps: Steps of the epoch.
        device: Where the numbers live.
    """

    def __init__(self, steps: int, device: torch.device) -> None:
        self.losses = torch.zeros(steps, device=device)
        self.hits = torch.zeros((), dtype=torch.int64, device=device)
        self.parts: dict[str, Tensor] = {}
        self.done = 0

    def add(self, output: dict[str, Any]) -> None:
        """Takes the output of one step."""
        self.losses[self.done] = output["total"]
        self.hits += output["hits"]
        for name, value in output["parts"].items():
            self.parts[name] = self.parts.get(name, torch.zeros_like(value)) + value
        self.done += 1

    def copy(self) -> EpochMeter:
        """The same numbers in tensors of its own."""
        other = EpochMeter(len(self.losses), self.losses.device)
        other.losses, other.hits, other.done = self.losses.clone(), self.hits.clone(), self.done
        other.parts = {name: value.clone() for name, value in self.parts.items()}
        return other

    def show(self, other: EpochMeter) -> None:
        """Takes the tensors of another meter for its own."""
        self.losses, self.hits, self.parts, self.done = other.losses, other.hits, other.parts, other.done

    def state(self, add_up: Callable[[Tensor], Tensor]) -> dict[str, Any]:
        """For a checkpoint in mid-epoch; ``add_up`` sums over processes."""
        parts = {name: add_up(value).cpu() for name, value in self.parts.items()}
        return {
            "losses": add_up(self.losses).cpu(),
            "hits": add_up(self.hits).cpu(),
            "parts": parts,
            "done": self.done,
        }

    def restore(self, state: dict[str, Any], *, is_main: bool) -> None:
        """Goes on from :meth:`state`; sums over processes stay right because only the main one takes the numbers."""
        share = 1 if is_main else 0
        self.losses.copy_(state["losses"] * share)
        self.hits.copy_(state["hits"] * share)
        self.parts = {name: (value * share).to(self.losses.device) for name, value in state["parts"].items()}
        self.done = int(state["done"])


class NotFiniteLoss(RunError):
    """The loss became infinite or not a number."""


class Executor(Protocol):
    """How the steps of an epoch are run, for one training or for several in lockstep."""

    @property
    def kind(self) -> str:
        """eager, compiled, stacked or captured: what a result records."""
        ...

    @property
    def runs_ahead(self) -> bool:
        """Whether the host runs ahead of the device, so that looking at numbers inside an epoch would stop it."""
        ...

    def prepare(self, work: Sequence[EpochWork]) -> None:
        """Everything that must happen before the first step: buffers, compilation, capture."""
        ...

    def steps(self, work: Sequence[EpochWork]) -> Iterator[int]:
        """Runs the steps that are not done yet; yields the number of steps done after each."""
        ...

    def close(self) -> None:
        """Gives back what was taken, before a stage changes or the run ends."""
        ...


class EagerExecutor:
    """One ordinary step after the other, for each training in turn.

    Args:
        runtime: Wrapping, backward and sums over processes.
        trainings: Entered into their stages.
        compiled: Whether forward and backward are compiled (``torch.compile``, default mode).
    """

    runs_ahead = False

    def __init__(self, runtime: Runtime, trainings: Sequence[Training], *, compiled: bool = False) -> None:
        self.runtime, self.trainings = runtime, trainings
        self.kind = "compiled" if compiled else "eager"
        if compiled:
            keep_compiled()
        self.wrapped: list[tuple[Any, Any]] = []
        for training in trainings:
            if training.optimizer is None:
                raise RuntimeError("a training must have entered its stage")
            task = cast(nn.Module, torch.compile(training.task)) if compiled else training.task
            self.wrapped.append(runtime.setup(task, training.optimizer))

    def prepare(self, work: Sequence[EpochWork]) -> None:
        """Nothing: an eager step needs no preparation, and a compiled one is compiled when it first runs."""

    def steps(self, work: Sequence[EpochWork]) -> Iterator[int]:
        """Runs the steps that are not done yet; yields the number of steps done after each."""
        first = work[0]
        sources = [
            training.source.batches(item.plan, item.meter.done)
            for training, item in zip(self.trainings, work, strict=True)
        ]
        for batches in zip(*sources, strict=True):
            for number, batch in enumerate(batches):
                self._run(number, batch, work[number])
            yield first.meter.done

    def _run(self, number: int, batch: Batch, work: EpochWork) -> None:
        task, optimizer = self.wrapped[number]
        set_learning_rate(optimizer, work.rates[work.meter.done])
        try:
            output = task(batch)
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise RunError(
                "BatchNorm needs more than one value per channel: give more images a step "
                "(--stages.0.streams.main.batch) or larger ones (--image-size)"
            ) from error
        optimizer.zero_grad(set_to_none=False)
        self.runtime.backward(output["loss"])
        optimizer.step()
        training = self.trainings[number]
        if training.ema is not None:
            training.ema.update(training.network)
        work.meter.add(output)

    def close(self) -> None:
        """Nothing to give back."""


def check_finite(meter: EpochMeter, runtime: Runtime, global_step: int) -> list[float]:
    """The losses of the epoch so far, summed over processes.

    Args:
        meter: The epoch's numbers.
        runtime: For the sum over processes.
        global_step: Steps done in the whole run, to name the bad one.

    Raises:
        NotFiniteLoss: Names the first step whose loss is not finite.
    """
    losses: list[float] = runtime.sum(meter.losses[: meter.done]).tolist()
    for number, loss in enumerate(losses):
        if not abs(loss) < float("inf"):
            step = global_step - meter.done + number + 1
            raise NotFiniteLoss(
                f"the loss became {loss} at step {step}; a smaller learning rate (--stages.0.optim.lr) or a longer "
                "warm-up usually helps"
            )
    return losses
