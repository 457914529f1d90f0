"""Processes, device and precision, by Lightning Fabric: the only file that imports it.

Four fences around observed behaviour of Fabric: the whole task is wrapped, never the backbone; the task
returns plain dicts; loaders are not handed to it; and it is set up anew for every stage.
"""

from __future__ import annotations

import os
import platform
from contextlib import AbstractContextManager
from typing import Any, Literal

import torch
from lightning_fabric import Fabric  # noqa: TID251
from torch import Tensor, nn

from tailwise.core.errors import RunError


class Runtime:
    """Where a run happens. Under ``torchrun`` it takes the processes it finds; otherwise there is one.

    Args:
        device: auto takes a CUDA device when there is one.
        precision: fp32, or bf16 autocast around the task.

    Raises:
        RunError: CUDA was asked for and there is none.
    """

    def __init__(self, device: Literal["auto", "cpu", "cuda"], precision: Literal["fp32", "bf16"]) -> None:
        if device == "cuda" and not torch.cuda.is_available():
            raise RunError("device 'cuda' was asked for, but PyTorch sees no CUDA device; allowed here: auto, cpu")
        use_cuda = torch.cuda.is_available() and device != "cpu"
        world = int(os.environ.get("WORLD_SIZE", "1"))
        local = int(os.environ.get("LOCAL_WORLD_SIZE", str(world)))
        if use_cuda and local > torch.cuda.device_count():
            raise RunError(f"{local} processes on this machine, but only {torch.cuda.device_count()} CUDA devices")
        self._fabric = Fabric(
            accelerator="cuda" if use_cuda else "cpu",
            devices=local,
            num_nodes=max(1, world // local),
            strategy="ddp" if world > 1 else "auto",
            precision="bf16-mixed" if precision == "bf16" else "32-true",
        )
        self._fabric.launch()

    @property
    def rank(self) -> int:
        """Number of this process, from 0."""
        return self._fabric.global_rank

    @property
    def world(self) -> int:
        """Number of processes."""
        return self._fabric.world_size

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and talks."""
        return self.rank == 0

    @property
    def device(self) -> torch.device:
        """This process's device."""
        return self._fabric.device

    @property
    def device_name(self) -> str:
        """For people: the GPU's name, or the processor's architecture with its threads."""
        if self.device.type == "cuda":
            return f"cuda ({torch.cuda.get_device_name(self.device)})"
        threads = torch.get_num_threads()
        return f"cpu ({platform.machine()}, {threads} thread{'' if threads == 1 else 's'})"

    def setup(self, task: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[Any, Any]:
        """Wraps both for this device, precision and number of processes; once for every stage."""
        wrapped = self._fabric.setup(task, optimizer)
        return wrapped[0], wrapped[1]

    def backward(self, loss: Tensor) -> None:
        """Backward with the precision's scaling and the strategy's gradient exchange."""
        self._fabric.backward(loss)

    def autocast(self) -> AbstractContextManager[Any]:
        """The precision's autocast, for evaluation outside the wrapped task."""
        return self._fabric.autocast()

    def sum(self, value: Tensor) -> Tensor:
        """The tensor summed over processes (a new tensor when there are several)."""
        if self.world == 1:
            return value
        summed = self._fabric.all_reduce(value.clone(), reduce_op="sum")
        return summed if isinstance(summed, Tensor) else value

    def share_buffers(self, module: nn.Module) -> None:
        """Gives every process the main one's buffers, so that BatchNorm statistics belong to one model."""
        if self.world > 1:
            for buffer in module.buffers():
                torch.distributed.broadcast(buffer, src=0)

    def barrier(self) -> None:
        """Waits for every process."""
        self._fabric.barrier()

    def synchronize(self) -> None:
        """Waits for the device, for honest timing."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
