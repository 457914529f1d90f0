"""What a person sees while a run trains: a rich bar on a terminal, plain lines elsewhere, nothing on other ranks."""

from __future__ import annotations

import os
import time
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class Reporter(Protocol):
    """What the loop tells."""

    def start(self, title: str, steps: int, done: int) -> None:
        """A run of so many steps begins, some of them done before."""
        ...

    def update(self, done: int, epoch: str, loss: float, accuracy: float, rate: float) -> None:
        """Steps done so far, epoch as text, running loss and accuracy in percent, images a second."""
        ...

    def line(self, text: str) -> None:
        """Something worth a line of its own."""
        ...

    def stop(self) -> None:
        """The run ends."""
        ...


class Silent:
    """Says nothing: other ranks, and library use."""

    def start(self, title: str, steps: int, done: int) -> None:
        """Nothing."""

    def update(self, done: int, epoch: str, loss: float, accuracy: float, rate: float) -> None:
        """Nothing."""

    def line(self, text: str) -> None:
        """Nothing."""

    def stop(self) -> None:
        """Nothing."""


class RichReporter:
    """A live bar with epoch, loss, accuracy, images a second and time left."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.progress: Progress | None = None
        self.task: Any = None

    def start(self, title: str, steps: int, done: int) -> None:
        """Opens the bar."""
        self.progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[numbers]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
        )
        self.progress.start()
        self.task = self.progress.add_task(title, total=steps, completed=done, numbers="")

    def update(self, done: int, epoch: str, loss: float, accuracy: float, rate: float) -> None:
        """Moves the bar."""
        if self.progress is not None:
            numbers = f"epoch {epoch} · loss {loss:.4f} · acc {accuracy:.1f} % · {rate:,.0f} img/s"
            self.progress.update(self.task, completed=done, numbers=numbers)

    def line(self, text: str) -> None:
        """Prints above the bar."""
        self.console.print(text, highlight=False, markup=False)

    def stop(self) -> None:
        """Closes the bar."""
        if self.progress is not None:
            self.progress.stop()
            self.progress = None


class PlainReporter:
    """One line now and then, for logs and pipes.

    Args:
        console: Where lines go.
        seconds: Least time between two lines of progress.
    """

    def __init__(self, console: Console, seconds: float = 10.0) -> None:
        self.console, self.seconds = console, seconds
        self.title, self.steps = "", 0
        self.said = time.monotonic()
        self.began, self.before = self.said, 0

    def start(self, title: str, steps: int, done: int) -> None:
        """One line with the size of the run."""
        self.title, self.steps, self.before = title, steps, done
        self.said = self.began = time.monotonic()
        self.line(f"{title}: {steps} steps" + (f", going on from step {done}" if done else ""))

    def update(self, done: int, epoch: str, loss: float, accuracy: float, rate: float) -> None:
        """A line when the last one is old enough."""
        now = time.monotonic()
        if now - self.said >= self.seconds:
            self.said = now
            left = (self.steps - done) * (now - self.began) / max(1, done - self.before)
            self.line(
                f"{self.title}: epoch {epoch}  loss {loss:.4f}  acc {accuracy:.1f} %  {rate:,.0f} img/s  "
                f"{left:.0f} s left"
            )

    def line(self, text: str) -> None:
        """Prints."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def stop(self) -> None:
        """Nothing to close."""


def is_main_process() -> bool:
    """Whether this is the only process or the first of several, by the numbers that their launcher gave them."""
    if "RANK" in os.environ:  # torchrun
        return os.environ["RANK"] == "0"
    # SLURM; or --devices, which numbers the machines and the processes of each.
    return all(os.environ.get(name, "0") == "0" for name in ("SLURM_PROCID", "NODE_RANK", "LOCAL_RANK"))


def make_reporter(console: Console) -> Reporter:
    """The right one for this process and terminal."""
    if not is_main_process():
        return Silent()
    return RichReporter(console) if console.is_terminal else PlainReporter(console)
