"""When one of several processes fails or dies, the others stop soon and say why.

Without it they would wait inside an exchange for a partner that never comes, up to the time limit of the process group
(half an hour). A thread in every process counts up its heartbeat; process 0 watches all of them, the others watch that
of process 0. A process that fails leaves a note, and the thread ends its process when there is a note of another one.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType

from torch import distributed

from tailwise.core.errors import RunError, TailwiseError
from tailwise.engine.noticeboard import Failure, Noticeboard, Presence
from tailwise.engine.progress import is_main_process

#: Added to an exception that process 0 reports, too.
TOLD = "process 0 reports this"
#: The store is in process 0, or in torchrun on its machine.
STORE_GONE = Failure(0, "is gone, and with it the store in which the processes met")
#: Words in the errors of an exchange whose partner is gone.
ECHOES = ("connection", "gloo", "nccl", "peer", "socket")
#: Seconds that process 0 stays after a failure, so that the others have read how it left before the store is gone.
LINGER = 0.5
#: Seconds that a launcher gets to end a process before it reports an error that all of them may have.
DEFERENCE = 5.0


class Watchdog:
    """Watches the other processes while this one is inside the ``with`` block. Every process enters it alike.

    An exception inside is noted for the others and goes on. When it is only the echo of another process's failure (a
    lost connection), a :class:`~tailwise.core.errors.RunError` that names that process takes its place. To leave the
    block is no failure; process 0 leaves last, unless that takes longer than ``grace``.

    Args:
        address: The host of the store in which the processes met.
        port: Its port.
        rank: The number of this process, from 0.
        world: The number of processes, at least 2.
        interval: Seconds between two heartbeats.
        silence: Seconds without a heartbeat after which a process counts as dead; also for the store.
        grace: Seconds that a process gets to fail by itself after another one has: most errors are everybody's.
        children: Processes that this one started, by number; their exit tells of their death at once.
        end: Ends this process with an exit status; replaced in tests.
    """

    def __init__(
        self,
        address: str,
        port: int,
        rank: int,
        world: int,
        *,
        interval: float = 2.0,
        silence: float = 30.0,
        grace: float = 5.0,
        children: Mapping[int, subprocess.Popen[bytes]] | None = None,
        end: Callable[[int], object] = os._exit,
    ) -> None:
        self._place, self.rank, self.world = (address, port), rank, world
        self.interval, self.silence, self.grace = interval, silence, grace
        self._children, self._end = dict(children or {}), end
        self._others = [number for number in range(world) if number != rank]
        self._watched = {number: (0, 0.0) for number in (self._others if rank == 0 else [0])}
        self._noticed: float | None = None
        self._leaving, self._stop = threading.Event(), threading.Event()
        self._looks = 0

    def __enter__(self) -> Watchdog:
        try:
            self._board = Noticeboard(*self._place, self.rank, self.silence)
            self._board.beat()
        except distributed.DistError:
            # The process that holds the store may be gone before this one has looked into it for the first time.
            self._say(STORE_GONE)
            self._end(STORE_GONE.code)
            raise
        self._thread = threading.Thread(target=self._watch, name="tailwise-watchdog", daemon=True)
        self._thread.start()
        threading.Thread(target=self._watch_store, name="tailwise-watchdog-store", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leaving.set()
        shown = error
        try:
            if not self._stop.is_set():  # set when process 0 has left, and perhaps the store with it
                shown = self._left(error)
        except distributed.DistError:
            if error is not None and _is_echo(error):
                shown = RunError(self._sentence(STORE_GONE))
        finally:
            self._stop.set()
            self._thread.join(self.interval)
        if shown is not None and shown is not error:
            raise shown from error

    def _left(self, error: BaseException | None) -> BaseException | None:
        """Tells the others how this process leaves; the exception to go on with."""
        if error is None or (isinstance(error, SystemExit) and not error.code):
            self._board.leave(Presence.DONE)
            self._wait_for(self._others if self.rank == 0 else [], self.grace)
            return error
        blame = self._culprit() if _is_echo(error) else None
        shown = error if blame is None else RunError(self._sentence(blame))
        ours = isinstance(shown, TailwiseError)
        text = str(shown) if ours else f"{type(shown).__name__}: {shown}".removesuffix(": ")
        self._board.note(blame or Failure(self.rank, f"failed: {text}", 2 if ours else 1))
        self._board.leave(Presence.FAILED, text)
        alive = [number for number in self._others if blame is None or number != blame.rank]
        self._wait_for(alive if self.rank == 0 else [0], self.grace + 3 * self.interval)
        if self.rank == 0:
            time.sleep(LINGER)
        elif ours:
            # Process 0 has the same error, or the note of this one ended it and it has reported that.
            first = self._board.presence(0)
            if first == Presence.ENDED or (first == Presence.FAILED and self._board.text(0) == text):
                shown.add_note(TOLD)
        return shown

    def _culprit(self) -> Failure | None:
        """The process that has failed, or whose heartbeat stands still; None when all go on."""
        before = {number: self._board.beats(number) for number in self._others}
        until = time.monotonic() + max(self.grace, 3 * self.interval)
        while time.monotonic() < until:
            note = self._board.failure()
            if note is not None and note.rank != self.rank:
                return note
            time.sleep(min(0.1, self.interval))
        still = [number for number in self._others if self._board.beats(number) == before[number]]
        gone = next((number for number in still if not self._board.presence(number)), None)
        return None if gone is None else Failure(gone, "is gone without a message (killed, or its machine is lost)")

    def _wait_for(self, others: Iterable[int], seconds: float) -> None:
        """Waits until the others have left, too, but not longer than so many seconds."""
        until, waiting = time.monotonic() + seconds, set(others)
        while waiting and time.monotonic() < until:
            waiting = {number for number in waiting if not self._board.presence(number) and not self._exited(number)}
            if waiting:
                time.sleep(min(0.05, self.interval))

    def _watch(self) -> None:
        """The thread: a heartbeat, then a look at the others."""
        last = time.monotonic()
        while not self._stop.wait(self.interval):
            now = time.monotonic()
            # A process that was suspended itself has not seen the others be silent.
            elapsed, last = min(now - last, 2 * self.interval), now
            try:
                failure = self._look(elapsed)
                if failure is not None and not self._leaving.is_set():
                    self._give_up(failure)
            except distributed.DistError:
                if not self._leaving.is_set():
                    self._say(STORE_GONE)
                    self._end(STORE_GONE.code)
                return

    def _look(self, elapsed: float) -> Failure | None:
        """The failure that this process must end for, if any."""
        self._board.beat()
        self._looks += 1
        note = self._board.failure()
        if note is not None:
            self._noticed = self._noticed or time.monotonic()
            return note if time.monotonic() - self._noticed >= self.grace else None
        for number, (known, quiet) in list(self._watched.items()):
            if self._board.presence(number):
                del self._watched[number]
                if number == 0:
                    self._stop.set()
                continue
            if self._exited(number):
                return Failure(number, f"ended without a message ({_status(self._children[number])})")
            beats = self._board.beats(number)
            quiet = 0.0 if beats != known else quiet + elapsed
            self._watched[number] = beats, quiet
            if quiet >= self.silence:
                return Failure(number, f"has not answered for {self.silence:.0f} seconds")
        return None

    def _give_up(self, failure: Failure) -> None:
        """Ends this process, process 0 last because the store may be in it."""
        self._board.note(failure)
        first = self._board.failure() or failure
        self._say(first)
        self._board.leave(Presence.ENDED)
        if self.rank == 0:
            alive = [number for number in self._others if number != first.rank]
            self._wait_for(alive, self.grace + 3 * self.interval)
            time.sleep(LINGER)
        self._end(first.code)

    def _watch_store(self) -> None:
        """A second thread: the first would wait for ever in a store whose machine has no power."""
        looks, quiet = self._looks, 0.0
        while not self._stop.wait(self.interval):
            looks, quiet = self._looks, 0.0 if self._looks != looks else quiet + self.interval
            if quiet >= self.silence and not self._leaving.is_set():
                failure = Failure(0, f"has not answered for {self.silence:.0f} seconds, nor has the store")
                self._say(failure)
                self._end(failure.code)
                return

    def _exited(self, number: int) -> bool:
        child = self._children.get(number)
        return child is not None and child.poll() is not None

    def _sentence(self, failure: Failure) -> str:
        return f"process {failure.rank} of {self.world} {failure.what}"

    def _say(self, failure: Failure) -> None:
        # An open progress bar has hidden the cursor of a terminal.
        shown = "\x1b[?25h\n" if sys.stderr.isatty() else ""
        print(f"{shown}stopped: {self._sentence(failure)}", file=sys.stderr, flush=True)
        sys.stdout.flush()


def told_elsewhere(error: BaseException) -> bool:
    """Whether process 0 reports an error, so that this process can be silent about it.

    Before the processes have met, nobody knows; all of them may have the error. Then the launcher of the others gets
    time to end this process first.
    """
    if is_main_process():
        return False
    chain: BaseException | None = error
    while chain is not None:
        if TOLD in getattr(chain, "__notes__", ()):
            return True
        chain = chain.__cause__
    if not (distributed.is_available() and distributed.is_initialized()):
        time.sleep(DEFERENCE)
    return False


def _is_echo(error: BaseException) -> bool:
    """Whether an error may only say that another process is gone."""
    if isinstance(error, TailwiseError) or not isinstance(error, RuntimeError | OSError):
        return False
    return any(word in str(error).lower() for word in ECHOES)


def _status(child: subprocess.Popen[bytes]) -> str:
    code = child.poll() or 0
    return f"signal {-code}" if code < 0 else f"exit status {code}"
