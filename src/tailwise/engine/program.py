"""A training step as a function without arguments: it reads its row of the epoch from device memory, and where it
stands too. So it can be run as it is, or captured once in a CUDA graph and replayed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from tailwise.engine.buffers import EpochBuffers, Gathers
from tailwise.engine.optim import lr_factor, match_layout
from tailwise.engine.runtime import Runtime
from tailwise.engine.stack import Stack
from tailwise.engine.step import EpochMeter
from tailwise.engine.task import Task
from tailwise.engine.training import EpochWork, Training


class StepProgram:
    """One step of one training, or of several that are stacked.

    Gather, crop, flip, mix, forward, loss, backward, optimiser and the averaged weights, on buffers that stay where
    they are: the plan of the epoch, the learning rates, the number of the step, losses and hits. Nothing waits for
    the device.

    Args:
        trainings: Entered into their stages; resident images.
        runtime: Precision.
        work: The first epoch, whose length and shapes the buffers take.
        compiled: Compile forward and backward.
    """

    def __init__(
        self, trainings: Sequence[Training], runtime: Runtime, work: Sequence[EpochWork], *, compiled: bool
    ) -> None:
        self.trainings, self.runtime, device = tuple(trainings), runtime, runtime.device
        on_gpu = device.type == "cuda"
        self.stack: Stack | None = None
        if len(trainings) > 1:
            self.stack = Stack([training.task for training in trainings], channels_last=on_gpu)
        elif on_gpu:
            trainings[0].network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.buffers: list[EpochBuffers] = []
        self.meters: list[EpochMeter] = []
        self.rates: list[Tensor] = []
        for training, item in zip(trainings, work, strict=True):
            if not isinstance(training.source, Gathers):
                raise TypeError("a step program needs resident images")
            # Only the last epoch of a stage may be shorter than its first.
            steps = training.span.steps_in(0)
            longest = item.plan if item.plan.steps == steps else training.plan_of(0)
            self.buffers.append(EpochBuffers(longest, training.source, device))
            self.meters.append(EpochMeter(steps, device))
            self.rates.append(torch.zeros(steps, device=device))
            assert training.optimizer is not None
            match_layout(training.optimizer)
        self.cursor = torch.zeros(1, dtype=torch.int64, device=device)
        # A function of its own: a compiled method would hold the program, whose memory would outlive it then.
        forward = torch.compile(_outcomes, dynamic=False) if compiled else _outcomes
        tasks = [training.task for training in self.trainings]
        self._forward: Callable[[], list[dict[str, Any]]] = partial(
            forward, self.stack, tasks, self.buffers, self.cursor
        )

    def load(self, work: Sequence[EpochWork]) -> None:
        """Puts an epoch into the buffers, to begin with the step that its meter says."""
        self.cursor.fill_(work[0].meter.done)
        for number, item in enumerate(work):
            self.buffers[number].load(item.plan)
            self.rates[number][: len(item.rates)].copy_(torch.tensor(item.rates))
            meter, own = self.meters[number], item.meter
            meter.losses[: len(own.losses)].copy_(own.losses)
            meter.hits.copy_(own.hits)
            for name, value in meter.parts.items():
                value.copy_(own.parts[name]) if name in own.parts else value.zero_()
            for name in own.parts.keys() - meter.parts.keys():
                meter.parts[name] = own.parts[name].clone()
            # From here on the epoch's meter shows the buffers.
            own.losses, own.hits, own.parts = meter.losses[: len(own.losses)], meter.hits, meter.parts

    def __call__(self) -> None:
        """One step."""
        for parameter in self._parameters():
            parameter.grad = None
        with self.runtime.autocast():
            outcomes = self._forward()
        torch.stack([outcome["loss"] for outcome in outcomes]).sum().backward()
        if self.stack is not None:
            self.stack.backbone.share_gradients()
            self.stack.backbone.count(self.stack.passes)
        for training, rates, meter, outcome in zip(self.trainings, self.rates, self.meters, outcomes, strict=True):
            optimizer = training.optimizer
            assert optimizer is not None
            rate = rates.index_select(0, self.cursor).squeeze(0)
            for group in optimizer.param_groups:
                group["lr"].copy_(rate * lr_factor(group) if lr_factor(group) != 1 else rate)
            optimizer.step()
            if training.ema is not None:
                training.ema.update(training.network)
            meter.losses.index_copy_(0, self.cursor, outcome["total"].detach().float().reshape(1))
            meter.hits += outcome["hits"]
            for name, value in outcome["parts"].items():
                if name not in meter.parts:
                    meter.parts[name] = torch.zeros_like(value)
                meter.parts[name] += value
        self.cursor += 1

    def state(self) -> Iterator[Tensor]:
        """Every tensor that a step changes and the next one reads."""
        yield self.cursor
        for training, meter in zip(self.trainings, self.meters, strict=True):
            yield from training.network.state_dict().values()
            if training.ema is not None:
                yield from training.ema.module.state_dict().values()
            assert training.optimizer is not None
            for values in training.optimizer.state.values():
                yield from (value for value in values.values() if isinstance(value, Tensor))
            yield from (meter.losses, meter.hits, *meter.parts.values())

    def close(self) -> None:
        """Gives the trainings tensors of their own again."""
        for parameter in self._parameters():
            parameter.grad = None
        if self.stack is not None:
            self.stack.backbone.release()

    def _parameters(self) -> list[nn.Parameter]:
        own = [parameter for training in self.trainings for parameter in training.network.parameters()]
        return own if self.stack is None else [*own, *self.stack.backbone.parameters()]


def _outcomes(
    stack: Stack | None, tasks: Sequence[Task], buffers: Sequence[EpochBuffers], cursor: Tensor
) -> list[dict[str, Any]]:
    batches = [item.batch(cursor) for item in buffers]
    if stack is not None:
        return stack(batches)
    return [task(batch) for task, batch in zip(tasks, batches, strict=True)]
