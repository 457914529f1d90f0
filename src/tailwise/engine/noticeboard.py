"""What processes tell each other outside of their exchanges: heartbeats, how each one left, and who failed first."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from datetime import timedelta
from enum import IntEnum

from torch import distributed


class Presence(IntEnum):
    """Where a process is in the part of the program that it shares with the others."""

    INSIDE = 0
    DONE = 1  # left after its work
    FAILED = 2  # left with an error of its own
    ENDED = 3  # ended by its watchdog


@dataclass(frozen=True)
class Failure:
    """Which process failed first, and how.

    Attributes:
        rank: Its number.
        what: The end of a sentence that begins with "process 1 of 4".
        code: The exit status of the processes that end because of it.
    """

    rank: int
    what: str
    code: int = 1


class Noticeboard:
    """A corner of the store in which the processes of a group met; no call waits for another process.

    Args:
        address: The host of the store.
        port: Its port.
        rank: The number of this process, from 0.
        patience: Seconds within which a connection must be made.

    Raises:
        torch.distributed.DistError: Here and in every method, when the store is gone.
    """

    def __init__(self, address: str, port: int, rank: int, patience: float) -> None:
        # A client of its own: the one of the process group is busy while an exchange is being set up.
        limit = timedelta(seconds=patience)
        client = distributed.TCPStore(  # pyright: ignore[reportPrivateImportUsage]
            address, port, is_master=False, wait_for_workers=False, timeout=limit
        )
        # A restart by torchrun, and a later run of the same processes, shall not find the notes of an earlier one.
        place = f"tailwise/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
        visit = client.add(f"{place}/visits/{rank}", 1)
        self._store = distributed.PrefixStore(f"{place}/{visit}", client)  # pyright: ignore[reportPrivateImportUsage]
        self._rank = rank

    def beat(self) -> None:
        """One heartbeat of this process."""
        self._store.add(f"beat/{self._rank}", 1)

    def beats(self, number: int) -> int:
        """The heartbeats of a process so far."""
        return self._store.add(f"beat/{number}", 0)

    def leave(self, presence: Presence, text: str = "") -> None:
        """Says once how this process leaves, and with which error."""
        self._store.set(f"text/{self._rank}", text)
        self._store.add(f"presence/{self._rank}", int(presence))

    def presence(self, number: int) -> Presence:
        """Where a process is."""
        return Presence(self._store.add(f"presence/{number}", 0))

    def text(self, number: int) -> str:
        """The error with which a process left; it must have left."""
        return self._store.get(f"text/{number}").decode()

    def note(self, failure: Failure) -> None:
        """Leaves a note of the first failure; a later one is the consequence and is ignored."""
        self._store.compare_set("failure", "", json.dumps(asdict(failure)))

    def failure(self) -> Failure | None:
        """The first failure, if any."""
        return Failure(**json.loads(self._store.get("failure"))) if self._store.check(["failure"]) else None
