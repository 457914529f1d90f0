"""Processes, device and precision, by Lightning Fabric: the only file that imports it.

Five fences around observed behaviour of Fabric: the whole task is wrapped, never the backbone; the task returns plain
dicts; loaders are not handed to it; it is set up anew for every stage; and what it would decide by itself (where it
runs, which precision a CPU gets, how a lost process ends the others) is decided here.
"""

from __future__ import annotations

import logging
import os
import platform
import threading
from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import MappingProxyType
from typing import Any, Literal

import torch
from lightning_fabric import Fabric  # noqa: TID251
from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment  # noqa: TID251
from lightning_fabric.plugins.environments.lightning import LightningEnvironment  # noqa: TID251
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment  # noqa: TID251
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment  # noqa: TID251
from torch import Tensor, distributed, nn

from tailwise.core.errors import RunError, UnknownName
from tailwise.engine.meeting import check_can_start, check_port, meeting
from tailwise.engine.processes import Processes, find_processes
from tailwise.engine.watchdog import Watchdog

Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["fp32", "bf16", "fp16", "fp64"]
Strategy = Literal["auto", "ddp", "ddp_find_unused_parameters_true"]

#: Our names for Fabric's.
PRECISIONS: Mapping[str, Any] = MappingProxyType(
    {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed", "fp64": "64-true"}
)
STRATEGIES = ("auto", "ddp", "ddp_find_unused_parameters_true")


class Runtime:
    """Where a run happens. It takes the processes that torchrun or SLURM started, or starts them on this machine.

    Args:
        device: auto takes a CUDA device when there is one.
        precision: fp32 and fp64 compute in one type; bf16 and fp16 are autocast around the task with float32 weights,
            fp16 with a scaled loss.
        strategy: How processes exchange gradients; auto is DistributedDataParallel for several and nothing for one.
        devices: Processes on each machine; none: those that were started, else one.
        nodes: Machines.

    Raises:
        RunError: What was asked for is not there: CUDA, so many GPUs, fp16 on a CPU, as many processes as were
            started, an address for several machines, a free port; or the other processes did not come.
        UnknownName: Another strategy or precision.
    """

    def __init__(
        self,
        device: Device,
        precision: Precision,
        *,
        strategy: Strategy = "auto",
        devices: int | None = None,
        nodes: int = 1,
    ) -> None:
        _check_names(strategy, precision)
        found = find_processes(devices, nodes)
        use_cuda = _use_cuda(device, precision, found)
        environment = _environment(found)
        if found.world > 1 and not distributed.is_initialized():
            if found.origin == "own" and found.local > 1:
                check_can_start()
            if found.rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
                check_port(environment.main_port)
        with _quiet():
            self._fabric = Fabric(
                accelerator="cuda" if use_cuda else "cpu",
                devices=found.local,
                num_nodes=found.nodes,
                strategy="auto" if found.world == 1 else ("ddp" if strategy == "auto" else strategy),
                precision=PRECISIONS[precision],
                plugins=[environment],
            )
            if found.world == 1:
                self._fabric.launch()
            else:
                with meeting(found, environment.main_address, environment.main_port):
                    self._fabric.launch()
        self._found = found

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

    def guarded(
        self, *, interval: float = 2.0, silence: float = 30.0, grace: float = 5.0
    ) -> AbstractContextManager[object]:
        """Everything that processes do together goes inside: when one of them fails or dies, all others stop.

        Nothing for one process. See :class:`~tailwise.engine.watchdog.Watchdog`.

        Args:
            interval: Seconds between two heartbeats.
            silence: Seconds without a heartbeat after which a process counts as dead.
            grace: Seconds that the others get to fail by themselves after one has.
        """
        if self.world == 1:
            return nullcontext()
        launcher = getattr(self._fabric.strategy, "launcher", None)
        children = dict(enumerate(getattr(launcher, "procs", ()), self.rank + 1))
        _disarm_observer()
        return Watchdog(
            os.environ["MASTER_ADDR"],
            int(os.environ["MASTER_PORT"]),
            self.rank,
            self.world,
            interval=interval,
            silence=silence,
            grace=grace,
            children=children,
        )

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

    def precision_state(self) -> dict[str, Any]:
        """What the precision must remember over a resume: the loss scale of fp16, nothing for the others."""
        return self._fabric.strategy.precision.state_dict()

    def restore_precision(self, state: Mapping[str, Any]) -> None:
        """Goes on from :meth:`precision_state`."""
        if state:
            self._fabric.strategy.precision.load_state_dict(dict(state))

    def sum(self, value: Tensor) -> Tensor:
        """The tensor summed over processes (a new tensor when there are several)."""
        if self.world == 1:
            return value
        # Fabric's own all_reduce waits at a barrier first, which every step would pay for.
        summed = value.detach().to(self.device, copy=True)
        distributed.all_reduce(summed)
        return summed

    def share_buffers(self, module: nn.Module) -> None:
        """Gives every process the main one's buffers, so that BatchNorm statistics belong to one model."""
        if self.world > 1:
            for buffer in module.buffers():
                distributed.broadcast(buffer, src=0)

    def barrier(self) -> None:
        """Waits for every process."""
        self._fabric.barrier()

    def synchronize(self) -> None:
        """Waits for the device, for honest timing."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def _check_names(strategy: str, precision: str) -> None:
    if strategy.startswith(("fsdp", "deepspeed", "model_parallel", "xla_fsdp")):
        raise RunError(
            f"strategy {strategy!r} shards the weights, but a checkpoint here holds the whole model; allowed: "
            f"{', '.join(STRATEGIES)}"
        )
    if strategy not in STRATEGIES:
        raise UnknownName("strategy", strategy, STRATEGIES)
    if precision not in PRECISIONS:
        raise UnknownName("precision", precision, PRECISIONS)


def _use_cuda(device: Device, precision: Precision, found: Processes) -> bool:
    if device == "cuda" and not torch.cuda.is_available():
        raise RunError("device 'cuda' was asked for, but PyTorch sees no CUDA device; allowed here: auto, cpu")
    if device == "cpu" or not torch.cuda.is_available():
        if precision == "fp16":
            raise RunError("precision fp16 needs a CUDA device; allowed on a CPU: fp32, bf16, fp64")
        return False
    if found.local > torch.cuda.device_count():
        hint = " (with SLURM, ask for --gpus-per-node, not --gpus-per-task)" if found.origin == "slurm" else ""
        raise RunError(
            f"{found.local} processes on this machine, but only {torch.cuda.device_count()} CUDA devices{hint}"
        )
    return True


def _environment(found: Processes) -> ClusterEnvironment:
    if found.origin == "torchrun":
        return TorchElasticEnvironment()
    return SLURMEnvironment() if found.origin == "slurm" else LightningEnvironment()


@contextmanager
def _quiet() -> Generator[None]:
    """Without Fabric's remarks about processes and precision."""
    logger = logging.getLogger("lightning_fabric")
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(before)


def _disarm_observer() -> None:
    """Takes over from Fabric's observer of the processes it launched: it would kill this one without a word."""
    for thread in threading.enumerate():
        if thread.name == "child-process-observer" and hasattr(thread, "_child_processes"):
            setattr(thread, "_child_processes", [])  # noqa: B010
