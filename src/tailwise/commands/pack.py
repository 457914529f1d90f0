"""``tailwise data pack``"""

from __future__ import annotations

import dataclasses
import os
import shlex
import shutil
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tailwise.commands.options import checked
from tailwise.core.errors import DataError
from tailwise.data.images import Progress as OnProgress
from tailwise.data.open import Splits, guess_source, open_data
from tailwise.data.pack import Pack, PackedImages, open_pack
from tailwise.data.pack_format import Mode
from tailwise.data.pack_pixels import expected_bytes
from tailwise.data.pack_verify import damaged_images
from tailwise.data.pack_writer import new_header, write_pack
from tailwise.data.pool import Pool


@dataclasses.dataclass(frozen=True)
class PackOptions:
    """Decode every image of a data set once into one memory-mapped file; `tailwise train --pack DIR` reads it.

    An interrupted packing goes on where it stopped when the same command is given again.
    """

    source: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="NAME|PATH")] = None
    """A data set (tailwise list datasets), a folder PATH/{train,val|test}/<class>/image, or a list file."""
    size: int = 256
    """Pixels of the short side; the other side keeps the proportion."""
    square: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Keep only the square in the middle."""
    root: Path | None = None
    """Where the files of a downloaded data set, or the images of a list, lie."""
    eval_split: Literal["auto", "val", "test"] = "auto"
    eval_list: Path | None = None
    """The list file of evaluation images."""
    workers: int | None = None
    """Decoding threads; one for each processor when not given."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """The pack's folder; packs/<name>-<short or square>-<size> when not given."""
    verify: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Compare every pixel of this pack with its checksums instead of packing."""


def run(arguments: Sequence[str]) -> int:
    """Packs or verifies, and prints what came out."""
    options = checked(lambda: tyro.cli(PackOptions, prog="tailwise data pack", args=list(arguments)))
    console = Console()
    workers = (os.cpu_count() or 1) if options.workers is None else options.workers
    if workers < 1:
        raise DataError(f"--workers must be 1 or more, got {workers}")
    if options.verify is not None:
        return _verify(options.verify, workers, console)
    if options.source is None:
        raise DataError("name the images to pack: tailwise data pack NAME|PATH --size 256")
    name, location = guess_source(options.source)
    splits = open_data(
        name, location=location, root=options.root, eval_split=options.eval_split, eval_list=options.eval_list
    )
    mode: Mode = "square" if options.square else "short"
    folder = options.out or Path("packs") / f"{splits.train.source}-{mode}-{options.size}"
    header = new_header(splits, mode, options.size, _command(options, location, folder))
    _say(console, _outlook(splits, mode, options.size, folder))
    counter = _Counter(len(splits.train) + len(splits.test))
    try:
        with _progress(console, "packing") as show:
            write_pack(folder, splits, header, workers=workers, on_progress=counter.around(show))
    except KeyboardInterrupt:
        # The engine takes seconds to import, and packing needs nothing of it.
        from tailwise.engine.loop import Interrupted

        raise Interrupted(f"{counter} are packed in {folder}. Go on with: {header.command}") from None
    _say(console, counter.summary())
    _summary(console, open_pack(folder), splits)
    return 0


class _Counter:
    """What one call packed, apart from what it found."""

    def __init__(self, total: int) -> None:
        self.total, self.found, self.done = total, total, 0
        self.began = time.monotonic()

    def around(self, show: OnProgress) -> OnProgress:
        """``show``, and counting."""

        def note(done: int, total: int) -> None:
            self.found, self.done = min(self.found, done - 1), done
            show(done, total)

        return note

    def __str__(self) -> str:
        return f"{self.done:,} of {self.total:,} images"

    def summary(self) -> str:
        """Images, seconds and images a second."""
        if not self.done:
            return "nothing to pack: the pack is complete"
        seconds, packed = time.monotonic() - self.began, self.done - self.found
        return f"{packed:,} images packed in {seconds:.1f} s ({packed / seconds:,.0f} images/s)"


def _command(options: PackOptions, location: Path | None, folder: Path) -> str:
    """What a person types to make this pack or to go on, from any folder."""
    words = [str(options.source) if location is None else str(location.resolve()), "--size", str(options.size)]
    words += ["--square"] if options.square else []
    for name, value in (("root", options.root), ("eval-list", options.eval_list)):
        words += [] if value is None else [f"--{name}", str(value.expanduser().resolve())]
    words += [] if options.eval_split == "auto" else ["--eval-split", options.eval_split]
    return shlex.join(["tailwise", "data", "pack", *words, "--out", str(folder.expanduser().resolve())])


def _outlook(splits: Splits, mode: Mode, size: int, folder: Path) -> str:
    needed = sum(expected_bytes(pool, mode, size) for pool in (splits.train, splits.test))
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(existing).free
    return (
        f"{splits.train.source}: {len(splits.train):,} training and {len(splits.test):,} evaluation images take about "
        f"{needed / 1e9:.2g} GB as {mode}-{size} in {folder}; {free / 1e9:,.0f} GB are free there"
    )


def _summary(console: Console, pack: Pack, splits: Splits) -> None:
    parts: list[tuple[str, PackedImages, Pool]] = [
        ("training", pack.train, splits.train),
        ("evaluation", pack.eval, splits.test),
    ]
    sizes = [f"{len(images.first):,} {kind} images {images.pixels.nbytes / 1e9:.3g} GB" for kind, images, _ in parts]
    _say(console, f"pack: {pack.folder} ({pack.pixels}): {', '.join(sizes)}")
    _say(console, f"checksum: {pack.header.checksum}")
    bad = [f"{pool.name_of(at)}: {reason}" for _, images, pool in parts for at, reason in images.unreadable.items()]
    if bad:
        listed = "\n  ".join(bad[:20]) + (f"\n  and {len(bad) - 20} more" if len(bad) > 20 else "")
        _say(console, f"{len(bad)} images cannot be read and are left out:\n  {listed}")
    _say(console, f"train on it with: tailwise train --pack {shlex.quote(str(pack.folder))} and the same --data")


def _verify(folder: Path, workers: int, console: Console) -> int:
    pack = open_pack(folder)
    with _progress(console, "verifying") as show:
        damaged = damaged_images(pack, workers, show)
    bad = [f"{part} image {position}" for part, positions in damaged.items() for position in positions]
    if bad:
        listed = ", ".join(bad[:10]) + (f" and {len(bad) - 10} more" if len(bad) > 10 else "")
        raise DataError(
            f"the pack {folder} is damaged: the pixels of {len(bad):,} images are not those that were packed "
            f"({listed}); delete the folder and pack again: {pack.header.command}"
        )
    total = len(pack.train.first) + len(pack.eval.first)
    _say(console, f"{folder}: all {total:,} images are as they were packed; checksum {pack.header.checksum}")
    return 0


@contextmanager
def _progress(console: Console, title: str, seconds: float = 10.0) -> Generator[OnProgress]:
    """A bar on a terminal, a line now and then elsewhere."""
    if not console.is_terminal:
        said = time.monotonic()

        def line(done: int, total: int) -> None:
            nonlocal said
            if time.monotonic() - said >= seconds:
                said = time.monotonic()
                _say(console, f"{title}: {done:,} of {total:,} images")

        yield line
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TextColumn("left"), TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)
