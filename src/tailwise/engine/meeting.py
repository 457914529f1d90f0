"""Where processes find each other: a free port, a line when it takes long, a message when it fails."""

from __future__ import annotations

import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager

from torch import distributed

import __main__
from tailwise.core.errors import RunError
from tailwise.engine.processes import Processes

#: Seconds before a process says that it still waits for the others.
PATIENCE = 30.0


def check_port(port: int) -> None:
    """Refuses a port on which the processes could not meet.

    Args:
        port: Where the first process is going to listen.

    Raises:
        RunError: Another program listens there; a free port is named.
    """
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("", port))
        except OSError as error:
            raise port_in_use(port) from error


def port_in_use(port: int) -> RunError:
    """The message for a port that is taken."""
    with socket.socket() as other:
        other.bind(("", 0))
        free = other.getsockname()[1]
    return RunError(
        f"port {port} (MASTER_PORT), where the processes meet, is in use on this machine; choose another one, for "
        f"example MASTER_PORT={free} (with torchrun: --master-port {free}, or --standalone)"
    )


def check_can_start() -> None:
    """Refuses to start further processes from a program that cannot be started again with the same command.

    Raises:
        RunError: An interactive session, a notebook or ``python -c``.
    """
    if getattr(__main__, "__file__", None) is None:
        raise RunError(
            "--devices starts this program again for every further process, which an interactive session does not "
            "allow; use the `tailwise` command, a script, or torchrun"
        )


@contextmanager
def meeting(found: Processes, address: str, port: int) -> Generator[None]:
    """Around the moment when the processes find each other.

    Args:
        found: Who is expected.
        address: The machine where the first process, or torchrun, listens.
        port: Its port.

    Raises:
        RunError: The port is taken, the address cannot be reached, or some processes did not come in time.
    """
    where = f"{address}:{port}"
    line = f"process {found.rank} of {found.world} waits for the others at {where}; were all of them started?"
    timer = threading.Timer(PATIENCE, print, [line], {"flush": True})
    timer.daemon = True
    timer.start()
    try:
        yield
    except (distributed.DistNetworkError, distributed.DistStoreError) as error:
        reason = str(error).splitlines()[0]
        if "EADDRINUSE" in reason or "in use" in reason:
            raise port_in_use(port) from error
        raise RunError(f"the {found.world} processes did not meet at {where}: {reason}") from error
    finally:
        timer.cancel()
