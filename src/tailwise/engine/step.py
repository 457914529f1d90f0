"""Executors: run one batch through task, backward and optimiser, keeping the numbers on the device."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tailwise.core.errors import RunError
from tailwise.core.types import Batch
from tailwise.engine.runtime import Runtime


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

    def state(self) -> dict[str, Any]:
        """For a checkpoint in mid-epoch."""
        parts = {name: value.cpu() for name, value in self.parts.items()}
        return {"losses": self.losses.cpu(), "hits": self.hits.cpu(), "parts": parts, "done": self.done}

    def restore(self, state: dict[str, Any], *, is_main: bool) -> None:
        """Goes on from :meth:`state`; sums over processes stay right because only the main one takes the numbers."""
        share = 1 if is_main else 0
        self.losses.copy_(state["losses"] * share)
        self.hits.copy_(state["hits"] * share)
        self.parts = {name: (value * share).to(self.losses.device) for name, value in state["parts"].items()}
        self.done = int(state["done"])


class NotFiniteLoss(RunError):
    """The loss became infinite or not a number."""


class EagerExecutor:
    """One ordinary step after the other.

    Args:
        runtime: Backward and sums over processes.
        task: The wrapped task.
        optimizer: The wrapped optimiser.
    """

    def __init__(self, runtime: Runtime, task: Any, optimizer: Any) -> None:
        self.runtime, self.task, self.optimizer = runtime, task, optimizer

    def run(self, batch: Batch, meter: EpochMeter) -> None:
        """Forward, backward, optimiser."""
        try:
            output = self.task(batch)
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise RunError(
                "BatchNorm needs more than one value per channel: give more images a step "
                "(--stages.0.streams.main.batch) or larger ones (--image-size)"
            ) from error
        self.optimizer.zero_grad(set_to_none=False)
        self.runtime.backward(output["loss"])
        self.optimizer.step()
        meter.add(output)


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
