"""What is left to train of a table, and what that takes, stages that runs share counted once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tailwise.engine.prefix import prefix_key
from tailwise.engine.recipe import Recipe
from tailwise.report.cells import Cell
from tailwise.report.entries import Entries
from tailwise.report.estimate import count_images, duration, stage_images
from tailwise.report.filled import Place

#: From a recipe to seconds an image and where that is known from; None when nobody can tell.
Pace = Callable[[Recipe], tuple[float, str] | None]


@dataclass(frozen=True)
class Agenda:
    """The runs of a table.

    Attributes:
        runs: Those that were asked for, each once.
        waiting: Those that have to be trained.
        images: Images of their steps, stages that they share counted once; None when unknown.
        alone: The same if every run were trained by itself.
        sentences: What to tell before training starts.
    """

    runs: tuple[Recipe, ...]
    waiting: tuple[Recipe, ...]
    images: int | None
    alone: int | None
    sentences: tuple[str, ...]


def make_agenda(
    cells: Sequence[Cell],
    runs: Sequence[Recipe],
    entries: Entries,
    places: Mapping[str, Place],
    pace: Pace,
    device: str,
) -> Agenda:
    """Compares runs with the ledger and adds up what is left.

    Args:
        cells: Whose runs they are.
        runs: Each once, with its seed.
        entries: The ledger.
        places: By the column's key, where its images are.
        pace: Tells how long an image takes.
        device: The type of device that trains.
    """
    place_of = {cell.recipe.hash: places.get(cell.column.key, Place()) for cell in cells if cell.recipe is not None}
    waiting: list[Recipe] = []
    for run in runs:
        place = place_of[run.hash]
        found = entries.of(run, fingerprint=place.fingerprint, location=place.location)
        if all(result.seed != run.seed for result in found):
            waiting.append(run)
    tally = _Tally(device, {key: place.num_images for key, place in place_of.items()}, pace)
    for run in waiting:
        tally.add(run)
    return Agenda(tuple(runs), tuple(waiting), *tally.total(), _sentences(cells, runs, waiting, tally))


class _Tally:
    """Adds up images and seconds of runs."""

    def __init__(self, device: str, counts: Mapping[str, int | None], pace: Pace) -> None:
        self.device, self.counts, self.pace = device, dict(counts), pace
        self.images = self.alone = 0
        self.seconds = 0.0
        self.unknown = self.untimed = 0
        self.sources: dict[str, None] = {}
        self._begun: set[tuple[str, int]] = set()
        self._keys: dict[str, list[str]] = {}

    def add(self, run: Recipe) -> None:
        """One more run."""
        number = self.counts[run.hash]
        if number is None:
            number = self.counts[run.hash] = count_images(run.data)
        if number is None:
            self.unknown += 1
            return
        if run.hash not in self._keys:
            counts = range(1, len(run.stages))
            self._keys[run.hash] = [prefix_key(run, count, number, self.device) for count in counts]
        keys = self._keys[run.hash]
        shared = max((count for count, key in enumerate(keys, start=1) if (key, run.seed) in self._begun), default=0)
        self._begun.update((key, run.seed) for key in keys)
        whole = stage_images(run, number)
        images = sum(whole[shared:])
        self.images, self.alone = self.images + images, self.alone + sum(whole)
        known = self.pace(run)
        if known is None:
            self.untimed += 1
            return
        self.seconds += images * known[0]
        self.sources[known[1]] = None

    def total(self) -> tuple[int | None, int | None]:
        """Images with and without sharing."""
        return (None, None) if self.unknown else (self.images, self.alone)


def _sentences(
    cells: Sequence[Cell], runs: Sequence[Recipe], waiting: Sequence[Recipe], tally: _Tally
) -> tuple[str, ...]:
    trained = sum(cell.recipe is not None for cell in cells)
    seeds = len({run.seed for run in runs})
    said = [
        f"{trained} cells, {len({run.hash for run in runs})} recipes, {seeds} seed{'' if seeds == 1 else 's'}: "
        f"{len(runs)} runs, {len(runs) - len(waiting)} of them in the ledger, {len(waiting)} to train"
    ]
    if not waiting:
        return tuple(said)
    if tally.images:
        saved = f"; {tally.alone:,} without shared stages" if tally.alone > tally.images else ""
        said.append(f"{tally.images:,} images of training steps{saved}")
    if tally.unknown:
        said.append(f"{tally.unknown} runs cannot be counted: their images are not here")
    if tally.sources:
        said.append(
            f"about {duration(tally.seconds)} of training one after the other, by {' and '.join(tally.sources)}"
        )
    if tally.untimed:
        said.append(f"how long {tally.untimed} runs take is not known: no finished run tells, and nothing was timed")
    return tuple(said)
