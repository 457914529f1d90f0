"""Which processes train together: those that torchrun, SLURM or a person started, or those that are to be started."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tailwise.core.errors import RunError

#: What torchrun sets for every process.
TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK")


@dataclass(frozen=True)
class Processes:
    """The processes of a run and the place of this one among them.

    Attributes:
        origin: Who starts them; ``own``: this process starts the others on its machine, if there are any.
        local: Processes on each machine.
        nodes: Machines.
        node: This machine's number, from 0.
        local_rank: This process's number on its machine, from 0.
    """

    origin: Literal["torchrun", "slurm", "launched", "own"]
    local: int
    nodes: int
    node: int
    local_rank: int

    @property
    def world(self) -> int:
        """All processes."""
        return self.local * self.nodes

    @property
    def rank(self) -> int:
        """This process's number among all, from 0."""
        return self.node * self.local + self.local_rank


def find_processes(
    devices: int | None = None, nodes: int = 1, environment: Mapping[str, str] | None = None
) -> Processes:
    """The processes that were started, or that ``devices`` and ``nodes`` ask for. Starts nothing.

    Args:
        devices: Processes on each machine; none: those that were started, else one.
        nodes: Machines.
        environment: Environment variables; those of this process when not given.

    Raises:
        RunError: More or fewer processes were started than were asked for; several machines without an address.
    """
    env = os.environ if environment is None else environment
    if all(name in env for name in TORCHRUN):
        found = _torchrun(env)
    elif _in_slurm(env):
        found = _slurm(env)
    elif "LOCAL_RANK" in env:
        found = _launched(env, devices, nodes)
    else:
        if int(env.get("WORLD_SIZE", "1")) > 1:
            raise RunError(
                f"WORLD_SIZE is {env['WORLD_SIZE']} but LOCAL_RANK is not set; start the processes with torchrun, or "
                "remove WORLD_SIZE and use --devices"
            )
        found = _own(env, devices or 1, nodes)
    _check(found, devices, nodes)
    return found


def _torchrun(env: Mapping[str, str]) -> Processes:
    local, world, node = int(env["LOCAL_WORLD_SIZE"]), int(env["WORLD_SIZE"]), int(env["GROUP_RANK"])
    found = Processes("torchrun", local, max(1, world // local), node, int(env["LOCAL_RANK"]))
    if found.world != world or found.rank != int(env["RANK"]):
        raise RunError(
            f"torchrun started {world} processes, {local} of them on this machine; every machine must have the same "
            "--nproc-per-node"
        )
    return found


def _in_slurm(env: Mapping[str, str]) -> bool:
    return "SLURM_NTASKS" in env and env.get("SLURM_JOB_NAME") not in ("bash", "interactive")


def _slurm(env: Mapping[str, str]) -> Processes:
    world, nodes = int(env["SLURM_NTASKS"]), int(env.get("SLURM_NNODES", "1"))
    if world % nodes or (world > 1 and "SLURM_NTASKS_PER_NODE" not in env):
        raise RunError(
            f"SLURM started {world} tasks on {nodes} machines; ask for them with --ntasks-per-node, the same number "
            "on every machine"
        )
    node, local_rank = int(env.get("SLURM_NODEID", "0")), int(env.get("SLURM_LOCALID", "0"))
    return Processes("slurm", world // nodes, nodes, node, local_rank)


def _launched(env: Mapping[str, str], devices: int | None, nodes: int) -> Processes:
    world = int(env.get("WORLD_SIZE", str((devices or 1) * nodes)))
    if world % nodes:
        raise RunError(f"WORLD_SIZE is {world}, which {nodes} machines (--nodes) cannot share evenly")
    return Processes("launched", world // nodes, nodes, int(env.get("NODE_RANK", "0")), int(env["LOCAL_RANK"]))


def _own(env: Mapping[str, str], devices: int, nodes: int) -> Processes:
    missing = [name for name in ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK") if not env.get(name)]
    if nodes > 1 and missing:
        names = " and ".join([", ".join(missing[:-1]), missing[-1]] if missing[1:] else missing)
        raise RunError(
            f"--nodes {nodes} needs {names} in the environment, so that the machines find each other: "
            "the address and a free port of the first machine, the same everywhere, and this machine's number from 0"
        )
    node = int(env.get("NODE_RANK", "0")) if nodes > 1 else 0
    if not 0 <= node < nodes:
        raise RunError(f"NODE_RANK must be from 0 to {nodes - 1} with --nodes {nodes}, got {node}")
    return Processes("own", devices, nodes, node, 0)


def _check(found: Processes, devices: int | None, nodes: int) -> None:
    who = {"torchrun": "torchrun", "slurm": "SLURM"}.get(found.origin, "the environment (LOCAL_RANK, WORLD_SIZE)")
    if devices is not None and devices != found.local:
        raise RunError(
            f"--devices {devices} was given, but {who} has {found.local} process{'' if found.local == 1 else 'es'} on "
            f"this machine; leave --devices out or give {found.local}"
        )
    if nodes not in (1, found.nodes):
        raise RunError(
            f"--nodes {nodes} was given, but {who} has {found.nodes} machine{'' if found.nodes == 1 else 's'}; leave "
            f"--nodes out or give {found.nodes}"
        )
