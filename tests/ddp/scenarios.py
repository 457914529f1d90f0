"""What two processes can do together: work, fail, die, hang, leave early. Each process of a pair calls one of these."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import torch

from tailwise.cli import main
from tailwise.core.errors import DataError
from tailwise.engine.runtime import Runtime
from tests.ddp import equality, resume
from tests.docs.blocks import blocks

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guide" / "balanced-sampling-ddp.md"
#: Longer than a test waits; a process that gets here was not ended.
FOR_EVER = 300.0
#: Seconds without a heartbeat after which a process counts as dead, here.
SILENCE = 5.0


def rank_1_raises(runtime: Runtime) -> None:
    if runtime.rank == 1:
        raise DataError("the images of process 1 are gone")
    time.sleep(FOR_EVER)


def rank_1_has_a_bug(runtime: Runtime) -> None:
    if runtime.rank == 1:
        raise ZeroDivisionError("1 / 0")
    runtime.barrier()


def rank_0_raises(runtime: Runtime) -> None:
    if runtime.rank == 0:
        raise DataError("another process is training in runs/x")
    runtime.barrier()


def rank_1_is_killed(runtime: Runtime) -> None:
    if runtime.rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(FOR_EVER)


def rank_1_is_killed_in_an_exchange(runtime: Runtime) -> None:
    if runtime.rank == 1:
        time.sleep(1)
        os.kill(os.getpid(), signal.SIGKILL)
    runtime.barrier()


def rank_0_is_killed(runtime: Runtime) -> None:
    if runtime.rank == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(FOR_EVER)


def rank_1_is_suspended(runtime: Runtime) -> None:
    if runtime.rank == 1:
        os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(FOR_EVER)


def both_raise(runtime: Runtime) -> None:
    time.sleep(0.3 * runtime.rank)
    raise DataError("nobody can read the images")


def rank_0_leaves_first(runtime: Runtime) -> None:
    time.sleep(4.0 * runtime.rank)


def rank_1_leaves_first(runtime: Runtime) -> None:
    time.sleep(4.0 * (1 - runtime.rank))


def meet(runtime: Runtime) -> None:
    assert runtime.world == 2
    assert runtime.sum(torch.tensor([1.0 + runtime.rank])).tolist() == [3.0]


#: Run inside a guard with short times, behind the command line's handling of errors.
GUARDED: Mapping[str, Callable[[Runtime], None]] = MappingProxyType(
    {
        **{
            work.__name__: work
            for work in (
                rank_1_raises,
                rank_1_has_a_bug,
                rank_0_raises,
                rank_1_is_killed,
                rank_1_is_killed_in_an_exchange,
                rank_0_is_killed,
                rank_1_is_suspended,
                both_raise,
                rank_0_leaves_first,
                rank_1_leaves_first,
            )
        },
        "slurm_tasks_meet": meet,
        "machines_meet": meet,
    }
)


def bad_batch(folder: Path) -> int:
    """`tailwise train` with a batch that two processes cannot share."""
    data = ["--data", "synthetic", "--epochs", "1", "--image-size", "8", "--device", "cpu"]
    batch = ["--stages.0.streams.main.batch", "33"]
    return main(["train", *data, *batch, "--out", str(folder / "bad-batch")])


def guide(folder: Path) -> int:
    """The script of the guide for plain PyTorch."""
    exec(compile(script_of_the_guide(), "<guide>", "exec"), {"__name__": "guide"})
    return 0


def script_of_the_guide() -> str:
    (script,) = [block.text for block in blocks(GUIDE) if block.mark == "runnable: also with torchrun"]
    return script


def equal(folder: Path) -> int:
    """Loss, gradients, one step and a short run."""
    equality.main(folder)
    return 0


def resumed(folder: Path) -> int:
    """Runs that began on one process, and runs that go on with one."""
    resume.main(folder)
    return 0


#: Run as they are.
PLAIN: Mapping[str, Callable[[Path], int]] = MappingProxyType(
    {work.__name__: work for work in (equal, resumed, guide, bad_batch)}
)
