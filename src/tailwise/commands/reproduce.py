"""``tailwise reproduce``"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro
from rich.console import Console
from rich.markup import escape

from tailwise.commands.cells import DEFAULT_PLACE, Chosen, absolute, choose, find_places, known_places, words
from tailwise.commands.options import checked, command_line, leading_names
from tailwise.core.errors import DataError, TailwiseError
from tailwise.engine.loop import Interrupted
from tailwise.engine.progress import is_main_process, make_reporter
from tailwise.engine.recipe import Recipe, Run
from tailwise.engine.run_folder import RunFolder, read_recipe, write_file
from tailwise.engine.train import DataCache, train_many
from tailwise.report.agenda import Agenda, make_agenda
from tailwise.report.cells import Wish, read_shard, runs_of, shard_of
from tailwise.report.entries import Entries, Ledger, result_hash
from tailwise.report.estimate import probed_pace, stored_pace
from tailwise.report.filled import Place, fill
from tailwise.report.filled_formats import to_markdown, to_text
from tailwise.report.ledger import Result
from tailwise.report.paper import Variant


@dataclasses.dataclass(frozen=True)
class ReproduceOptions:
    """Train the cells of a paper's table and print them beside the paper's numbers. Called again, it goes on."""

    columns: Annotated[str, tyro.conf.arg(metavar="KEY,KEY")] = ""
    """Columns to make; all when not given."""
    rows: Annotated[str, tyro.conf.arg(metavar="NAME,NAME")] = ""
    """Rows to make; all when not given."""
    variant: Variant = "paper"
    """paper: as printed; official: as the authors' code runs."""
    data: Annotated[str | None, tyro.conf.arg(metavar="NAME|PATH")] = None
    """Train the rows on other data: a data set, a folder or a list file in place of the columns."""
    data_root: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Where the files of CIFAR, or the images of a list, lie."""
    train_list: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """The training list of columns that read list files (ImageNet-LT, iNaturalist 2018)."""
    epochs: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Compress or stretch every recipe; its numbers are then not comparable with the paper's."""
    seeds: int = 3
    """Seeds of every cell, counted up from 0."""
    shard: Annotated[str | None, tyro.conf.arg(metavar="PART/PARTS")] = None
    """Train one part of the runs, for example 3/8 on the third of eight machines."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")] = DEFAULT_PLACE
    """Where runs, shared stages and the ledger go."""
    dry: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Say what would be trained, print what is known, and train nothing."""
    probe: bool = True
    """Time a few steps when no finished run tells how long it will take."""
    format: Literal["text", "markdown"] = "text"
    """How the table is printed."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """As in `train`."""
    at_once: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Most runs side by side; none: by the GPU's memory, one on a CPU."""
    threads: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Threads on a CPU."""
    checkpoint_seconds: float = 30.0
    """Least time between two checkpoints."""


def run(arguments: Sequence[str]) -> int:
    """Trains what is missing and prints the table."""
    names, rest = leading_names(arguments)
    options = checked(lambda: tyro.cli(ReproduceOptions, prog="tailwise reproduce TABLE", args=rest))
    if len(names) != 1:
        raise TailwiseError(
            f"reproduce takes one table, got {len(names)}: tailwise reproduce bag-of-tricks/table8 "
            "(`tailwise list tables` shows all)"
        )
    work = _Work(names[0], options, command_line("reproduce", arguments))
    return work.report() if options.dry else work.train()


class _Work:
    """One call of the command."""

    def __init__(self, table: str, options: ReproduceOptions, command: str) -> None:
        self.options, self.command, self.console = options, command, Console()
        part, parts = read_shard(options.shard)
        self.chosen: Chosen = choose(table, _wish(options))
        run = Run(
            device=options.device,
            at_once=options.at_once,
            threads=options.threads,
            checkpoint_seconds=options.checkpoint_seconds,
        )
        runs = shard_of(runs_of(self.chosen.cells, options.seeds), part, parts)
        self.runs = [dataclasses.replace(item, run=run) for item in runs]
        self.ledger = Ledger(options.out / "ledger")
        self.device = "cuda" if options.device != "cpu" and torch.cuda.is_available() else "cpu"
        self.failed: list[str] = []

    def report(self) -> int:
        """Says what would be done and what is known."""
        places = known_places(self.chosen.cells)
        entries = self.ledger.read()
        self._say(self._agenda(entries, places).sentences)
        self._show(entries, places)
        return 0

    def train(self) -> int:
        """Trains what is missing, column by column of the data."""
        places, missing = find_places(self.chosen.cells)
        for key, reason in missing.items():
            self.failed.append(f"column {key} is left out: {reason}")
        place_of = {cell.recipe.hash: places.get(cell.column.key) for cell in self.chosen.cells if cell.recipe}
        self.runs = [item for item in self.runs if place_of[item.hash] is not None]
        if not self.runs:
            raise DataError(f"no column is left: {'; '.join(self.failed)}")
        self._say(self.failed)
        folders = {
            (item.hash, item.seed): self._folder(item, (place_of[item.hash] or Place()).fingerprint)
            for item in self.runs
        }
        self._collect(folders.values())
        agenda = self._agenda(self.ledger.read(), places)
        self._say(agenda.sentences)
        cache, reporter = DataCache(), make_reporter(self.console)

        def go(recipes: Sequence[Recipe]) -> None:
            outs = [folders[item.hash, item.seed] for item in recipes]
            try:
                outcomes = train_many(
                    recipes,
                    outs,
                    resume=True,
                    reporter=reporter,
                    cache=cache,
                    command=self.command,
                    prefixes=self.options.out / "stages",
                )
            except Interrupted as error:
                self._collect(outs)
                raise Interrupted(f"{error}. Go on with: {self.command}") from error
            except TailwiseError as error:
                self._collect(outs)
                if len({item.hash for item in recipes}) == 1:
                    self.failed.append(f"{recipes[0].name} is left out: {error}")
                    return
                # One row that these data cannot have does not keep the others from them.
                for one in dict.fromkeys(item.hash for item in recipes):
                    go([item for item in recipes if item.hash == one])
                return
            self._collect(outs)
            for outcome in outcomes:
                if outcome.error is not None:
                    self.failed.append(f"{outcome.recipe.name} seed {outcome.recipe.seed}: {outcome.error}")

        for data in dict.fromkeys(item.data for item in agenda.waiting):
            go([item for item in agenda.waiting if item.data == data])
        if is_main_process():
            self._show(self.ledger.read(), places)
        for line in self.failed:
            self.console.print(f"[red]not done: {escape(line)}[/]", highlight=False, soft_wrap=True)
        return 1 if self.failed else 0

    def _agenda(self, entries: Entries, places: Mapping[str, Place]) -> Agenda:
        paces: dict[str, tuple[float, str] | None] = {}

        def pace(recipe: Recipe) -> tuple[float, str] | None:
            key = repr((recipe.backbone, recipe.data.image_size, recipe.precision))
            if key not in paces:
                stored = stored_pace(entries.results, recipe, self.device)
                if stored is not None:
                    paces[key] = stored, "the times of finished runs in the ledger"
                else:
                    probed = probed_pace(recipe, self.device) if self.options.probe else None
                    paces[key] = None if probed is None else (probed, "a probe of a few steps, without evaluation")
            return paces[key]

        return make_agenda(self.chosen.cells, self.runs, entries, places, pace, self.device)

    def _folder(self, recipe: Recipe, fingerprint: str | None) -> Path:
        return self.options.out / "runs" / result_hash(recipe, fingerprint) / f"seed{recipe.seed}"

    def _collect(self, folders: Iterable[Path]) -> None:
        """Enters finished runs into the ledger, those of a call that was killed among them."""
        if not is_main_process():
            return
        for folder in folders:
            if not (folder / "result.json").is_file():
                continue
            if not RunFolder(folder).finished:
                self._say(
                    [f"{folder / 'result.json'} is damaged and ignored; its run goes on from its last checkpoint"]
                )
                continue
            self.ledger.add(Result.from_folder(folder), read_recipe(folder / "recipe.yaml"))

    def _show(self, entries: Entries, places: Mapping[str, Place]) -> None:
        table = fill(self.chosen.cells, self.chosen.baselines, entries, places)
        if self.options.format == "markdown":
            print(to_markdown(table))
        else:
            self.console.print(to_text(table), soft_wrap=self.console.width < 100)
        if not self.options.dry:
            name = f"{self.chosen.table.name.replace('/', '-')}.md"
            write_file(self.options.out / name, to_markdown(table))
            self.console.print(f"table: {self.options.out / name}", highlight=False, soft_wrap=True)

    def _say(self, lines: Sequence[str]) -> None:
        for line in lines:
            self.console.print(escape(line), highlight=False, soft_wrap=True)


def _wish(options: ReproduceOptions) -> Wish:
    return Wish(
        rows=words(options.rows),
        columns=words(options.columns),
        variant=options.variant,
        data=options.data,
        root=absolute(options.data_root),
        train_list=absolute(options.train_list),
        epochs=options.epochs,
    )
