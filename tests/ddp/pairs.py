"""Two processes for every scenario; what each did, as JSON.

All are forked from one process that has imported everything, which costs one start, and run side by side.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

from tailwise import cli
from tailwise.engine.runtime import Runtime
from tests.ddp.scenarios import GUARDED, PLAIN, SILENCE

#: The file that says that what one process has to do first is done.
BEGIN = "begin"
#: Processes that a scenario leaves behind, so that nobody waits for them.
LEFT_BEHIND = {("rank_1_is_suspended", 1)}


def environment_of(name: str, rank: int, port: int) -> dict[str, str]:
    """What a launcher tells a process: torchrun, SLURM, nothing but the machine's number, or `--devices`."""
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    place = {"LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    if name in PLAIN:
        return {**place, "RANK": str(rank), "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "0", **address}
    if name == "slurm_tasks_meet":
        task = {"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank), "SLURM_NODEID": "0"}
        job = {"SLURM_JOB_NAME": "train", "SLURM_NTASKS": "2", "SLURM_NNODES": "1", "SLURM_NTASKS_PER_NODE": "2"}
        return {**job, **task, **address}
    if name == "machines_meet":
        return {"NODE_RANK": str(rank), **address}
    return {**place, "NODE_RANK": "0", **address}


def run(arguments: Sequence[str]) -> int:
    """The command `tailwise guarded SCENARIO`."""
    runtime = Runtime("cpu", "fp32", nodes=2 if arguments[0] == "machines_meet" else 1)
    with runtime.guarded(interval=0.2, silence=SILENCE, grace=0.6):
        GUARDED[arguments[0]](runtime)
    return 0


def member(name: str, rank: int, port: int, folder: Path) -> int:
    """One process of a pair."""
    os.environ.update(environment_of(name, rank, port))
    for stream in (1, 2):
        os.dup2(os.open(folder / f"{name}-{rank}.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
    if name in PLAIN:
        return PLAIN[name](folder)
    with patch.object(cli, "COMMANDS", {"guarded": ("tests.ddp.pairs", "")}):
        return cli.main(["guarded", name])


def fork(name: str, rank: int, port: int, folder: Path) -> int:
    """Starts a member; its process number."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        code = member(name, rank, port, folder)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("", 0))
    ports = [int(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports


def main(folder: Path) -> None:
    until = time.monotonic() + 300
    while not (folder / BEGIN).exists() and time.monotonic() < until:
        time.sleep(0.05)
    began, names = time.monotonic(), [*PLAIN, *GUARDED]
    running = {
        fork(name, rank, port, folder): (name, rank)
        for name, port in zip(names, free_ports(len(names)), strict=True)
        for rank in (0, 1)
    }
    found: dict[str, list[dict[str, object]]] = {name: [{}, {}] for name in names}
    while set(running.values()) - LEFT_BEHIND and time.monotonic() - began < 200:
        for pid, (name, rank) in list(running.items()):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                del running[pid]
                said = (folder / f"{name}-{rank}.txt").read_text()
                seconds = time.monotonic() - began
                found[name][rank] = {"code": os.waitstatus_to_exitcode(status), "seconds": seconds, "said": said}
        time.sleep(0.05)
    for pid in running:
        os.kill(pid, signal.SIGKILL)
    (folder / "found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
