"""Which processes are found in an environment, and every way in which they do not fit what was asked for."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailwise.core.errors import RunError
from tailwise.engine.meeting import check_can_start, check_port
from tailwise.engine.processes import Processes, find_processes


def torchrun(rank: int, local: int, nodes: int, **changes: int) -> dict[str, str]:
    env = {
        "RANK": rank,
        "WORLD_SIZE": local * nodes,
        "LOCAL_RANK": rank % local,
        "LOCAL_WORLD_SIZE": local,
        "GROUP_RANK": rank // local,
    }
    return {name: str(value) for name, value in {**env, **changes}.items()}


def slurm(rank: int, local: int, nodes: int) -> dict[str, str]:
    return {
        "SLURM_NTASKS": str(local * nodes),
        "SLURM_NNODES": str(nodes),
        "SLURM_NTASKS_PER_NODE": str(local),
        "SLURM_PROCID": str(rank),
        "SLURM_LOCALID": str(rank % local),
        "SLURM_NODEID": str(rank // local),
        "SLURM_JOB_NAME": "train",
    }


@given(local=st.integers(1, 8), nodes=st.integers(1, 5), data=st.data())
def test_the_place_of_a_process_is_that_of_its_launcher(local: int, nodes: int, data: Any) -> None:
    rank = data.draw(st.integers(0, local * nodes - 1))
    for env, origin in ((torchrun(rank, local, nodes), "torchrun"), (slurm(rank, local, nodes), "slurm")):
        found = find_processes(environment=env)
        assert (found.origin, found.world, found.local, found.nodes, found.rank) == (
            origin,
            local * nodes,
            local,
            nodes,
            rank,
        )
        assert find_processes(local, nodes, env) == found


def test_without_a_launcher_there_is_one_process_or_what_was_asked_for() -> None:
    assert find_processes(environment={}) == Processes("own", 1, 1, 0, 0)
    assert find_processes(4, environment={}) == Processes("own", 4, 1, 0, 0)
    address = {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500", "NODE_RANK": "1"}
    found = find_processes(4, 2, address)
    assert (found.world, found.rank, found.node) == (8, 4, 1)
    # What --devices sets for the processes that it starts.
    found = find_processes(4, 2, {**address, "LOCAL_RANK": "3", "WORLD_SIZE": "8"})
    assert (found.origin, found.world, found.rank) == ("launched", 8, 7)
    assert find_processes(environment={"LOCAL_RANK": "1", "WORLD_SIZE": "2", "NODE_RANK": "0"}).rank == 1


def test_torchrun_wins_inside_slurm_and_an_interactive_job_is_none() -> None:
    assert find_processes(environment={**slurm(0, 1, 2), **torchrun(3, 2, 2)}).rank == 3
    assert find_processes(environment={**slurm(0, 4, 1), "SLURM_JOB_NAME": "bash"}).world == 1


@pytest.mark.parametrize(
    ("devices", "nodes", "env", "message"),
    [
        (
            3,
            1,
            torchrun(0, 2, 1),
            "--devices 3 was given, but torchrun has 2 processes on this machine; leave --devices out or give 2",
        ),
        (
            None,
            3,
            torchrun(0, 2, 2),
            "--nodes 3 was given, but torchrun has 2 machines; leave --nodes out or give 2",
        ),
        (
            4,
            1,
            slurm(0, 1, 1),
            "--devices 4 was given, but SLURM has 1 process on this machine; leave --devices out or give 1",
        ),
        (
            4,
            1,
            {"LOCAL_RANK": "0", "WORLD_SIZE": "2"},
            "--devices 4 was given, but the environment (LOCAL_RANK, WORLD_SIZE) has 2 processes on this machine; "
            "leave --devices out or give 2",
        ),
        (
            None,
            1,
            {"WORLD_SIZE": "2"},
            "WORLD_SIZE is 2 but LOCAL_RANK is not set; start the processes with torchrun, or remove WORLD_SIZE and "
            "use --devices",
        ),
        (
            2,
            2,
            {"MASTER_ADDR": "10.0.0.1"},
            "--nodes 2 needs MASTER_PORT and NODE_RANK in the environment, so that the machines find each other: the "
            "address and a free port of the first machine, the same everywhere, and this machine's number from 0",
        ),
        (
            2,
            2,
            {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500", "NODE_RANK": "2"},
            "NODE_RANK must be from 0 to 1 with --nodes 2, got 2",
        ),
        (
            None,
            1,
            torchrun(4, 1, 1, WORLD_SIZE=5, GROUP_RANK=2, LOCAL_RANK=0),
            "torchrun started 5 processes, 1 of them on this machine; every machine must have the same "
            "--nproc-per-node",
        ),
        (
            None,
            1,
            {key: value for key, value in slurm(0, 2, 2).items() if key != "SLURM_NTASKS_PER_NODE"},
            "SLURM started 4 tasks on 2 machines; ask for them with --ntasks-per-node, the same number on every "
            "machine",
        ),
    ],
)
def test_what_does_not_fit_is_refused_with_both_numbers(
    devices: int | None, nodes: int, env: dict[str, str], message: str
) -> None:
    with pytest.raises(RunError) as caught:
        find_processes(devices, nodes, env)
    assert str(caught.value) == message


def test_a_port_in_use_is_refused_and_a_free_one_named() -> None:
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(RunError, match=rf"^port {port} \(MASTER_PORT\), .* choose another one, .*=\d+ ") as caught:
            check_port(port)
    free = int(str(caught.value).split("MASTER_PORT=")[1].split()[0])
    assert free != port
    check_port(free)


def test_a_session_without_a_program_file_cannot_be_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("__main__.__file__", "program.py", raising=False)
    check_can_start()
    monkeypatch.delattr("__main__.__file__")
    with pytest.raises(
        RunError, match=r"^--devices starts this program again .* an interactive session does not allow"
    ):
        check_can_start()
