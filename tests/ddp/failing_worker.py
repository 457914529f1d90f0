"""Pairs of processes in which one fails, dies or leaves early; what the other one did, as JSON.

All pairs are forked from one process that has imported everything, and run side by side: they mostly wait.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from unittest.mock import patch

import torch

from tailwise import cli
from tailwise.core.errors import DataError
from tailwise.engine.runtime import Runtime

#: Longer than a test waits; a process that gets here was not ended.
FOR_EVER = 300.0


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


def slurm_tasks_meet(runtime: Runtime) -> None:
    assert runtime.world == 2
    assert runtime.sum(torch.tensor([1.0 + runtime.rank])).tolist() == [3.0]


def machines_meet(runtime: Runtime) -> None:
    slurm_tasks_meet(runtime)


SCENARIOS: dict[str, Callable[[Runtime], None]] = {
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
        slurm_tasks_meet,
        machines_meet,
    )
}


def environment_of(name: str, rank: int, port: int) -> dict[str, str]:
    """What a launcher tells a process: a person's loop, SLURM, or nothing but the machine's number."""
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    if name == "slurm_tasks_meet":
        task = {"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank), "SLURM_NODEID": "0"}
        job = {"SLURM_JOB_NAME": "train", "SLURM_NTASKS": "2", "SLURM_NNODES": "1", "SLURM_NTASKS_PER_NODE": "2"}
        return {**job, **task, **address}
    if name == "machines_meet":
        return {"NODE_RANK": str(rank), **address}
    return {"LOCAL_RANK": str(rank), "NODE_RANK": "0", "WORLD_SIZE": "2", **address}


def run(arguments: Sequence[str]) -> int:
    """What `tailwise COMMAND` would call in each process."""
    runtime = Runtime("cpu", "fp32", nodes=2 if arguments[0] == "machines_meet" else 1)
    with runtime.guarded(interval=0.2, silence=3.0, grace=0.6):
        SCENARIOS[arguments[0]](runtime)
    return 0


def member(name: str, rank: int, port: int, folder: Path) -> int:
    """One process of a pair, with the command line's handling of errors."""
    os.environ.update(environment_of(name, rank, port))
    for stream in (1, 2):
        os.dup2(os.open(folder / f"{name}-{rank}.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
    with patch.object(cli, "COMMANDS", {"work": ("tests.ddp.failing_worker", "")}):
        return cli.main(["work", name])


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("", 0))
    ports = [int(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports


def main(folder: Path) -> None:
    began = time.monotonic()
    running: dict[int, tuple[str, int]] = {}
    for name, port in zip(SCENARIOS, free_ports(len(SCENARIOS)), strict=True):
        for rank in (0, 1):
            pid = os.fork()
            if pid == 0:
                code = 1
                try:
                    code = member(name, rank, port, folder)
                except BaseException:
                    traceback.print_exc()
                finally:
                    sys.stdout.flush()
                    sys.stderr.flush()
                    os._exit(code)
            running[pid] = (name, rank)
    found: dict[str, list[dict[str, object]]] = {name: [{}, {}] for name in SCENARIOS}
    while running and time.monotonic() - began < 100:
        for pid in list(running):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                name, rank = running.pop(pid)
                seconds, code = time.monotonic() - began, os.waitstatus_to_exitcode(status)
                said = (folder / f"{name}-{rank}.txt").read_text()
                found[name][rank] = {"code": code, "seconds": seconds, "said": said}
        # The suspended process never ends by itself.
        if set(running.values()) == {("rank_1_is_suspended", 1)}:
            break
        time.sleep(0.05)
    for pid in running:
        os.kill(pid, signal.SIGKILL)
    (folder / "found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
