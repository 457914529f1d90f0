"""``tailwise report``"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console

from tailwise.commands.cells import DEFAULT_PLACE, absolute, choose, known_places, words
from tailwise.commands.options import checked
from tailwise.core.errors import RunError
from tailwise.report.cells import Wish
from tailwise.report.entries import Ledger
from tailwise.report.filled import fill
from tailwise.report.filled_formats import to_csv as filled_csv
from tailwise.report.filled_formats import to_latex, to_text
from tailwise.report.filled_formats import to_markdown as filled_markdown
from tailwise.report.ledger import Result, find_results
from tailwise.report.page import write_page
from tailwise.report.paper import Variant
from tailwise.report.table import compare_table, to_csv, to_markdown, to_rich


@dataclasses.dataclass(frozen=True)
class ReportOptions:
    """One page and one table for finished runs; runs of one recipe are put together over their seeds."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN...")]
    """Run folders, or folders that hold some. The first recipe is what the others are compared with."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """The page; when not given, report.html in the one folder named, or in the current one for several."""
    format: Literal["text", "markdown", "latex", "csv"] = "text"
    """How the table is printed; latex needs --table."""
    table: Annotated[str | None, tyro.conf.arg(metavar="TABLE")] = None
    """Fill a paper's table from the folder that `reproduce` wrote, RUN (reproduced when not given); no page is made."""
    columns: Annotated[str, tyro.conf.arg(metavar="KEY,KEY")] = ""
    """With --table: columns to show; all when not given."""
    rows: Annotated[str, tyro.conf.arg(metavar="NAME,NAME")] = ""
    """With --table: rows to show; all when not given."""
    variant: Variant = "paper"
    """With --table: paper or official."""
    data: Annotated[str | None, tyro.conf.arg(metavar="NAME|PATH")] = None
    """With --table: the other data that `reproduce` was given."""
    data_root: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """With --table: as in `reproduce`."""
    epochs: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """With --table: as in `reproduce`."""


def run(arguments: Sequence[str]) -> int:
    """Writes the page and prints the table."""
    options = checked(lambda: tyro.cli(ReportOptions, prog="tailwise report", args=list(arguments)))
    if options.table is not None:
        return _paper_table(options, options.table)
    if options.format == "latex":
        raise RunError("--format latex is for a paper's table: give --table, for example bag-of-tricks/table8")
    if not options.runs:
        raise RunError("report needs at least one run folder: tailwise report runs/digits")
    groups = grouped_results(options.runs)
    table = compare_table(groups)
    page = write_page(groups, options.out or (options.runs[0] if len(options.runs) == 1 else Path()) / "report.html")
    console = Console()
    if options.format == "text":
        console.print(to_rich(table, console.width))
        console.print(f"page: {page}", highlight=False, soft_wrap=True)
    else:
        print(to_markdown(table) if options.format == "markdown" else to_csv(table))
    return 0


def grouped_results(folders: Sequence[Path]) -> dict[str, list[Result]]:
    """The finished runs in these folders by recipe, each seed once, in the order in which they are found.

    Raises:
        RunError: No folder is given, or one has no finished run in it.
    """
    if not folders:
        raise RunError("give at least one run folder")
    return _grouped([result for folder in folders for result in _results(folder)])


def _paper_table(options: ReportOptions, name: str) -> int:
    if len(options.runs) > 1:
        raise RunError(f"--table reads one folder, got {len(options.runs)}; copy their ledgers into one")
    wish = Wish(
        rows=words(options.rows),
        columns=words(options.columns),
        variant=options.variant,
        data=options.data,
        root=absolute(options.data_root),
        epochs=options.epochs,
    )
    chosen = choose(name, wish)
    place = options.runs[0] if options.runs else DEFAULT_PLACE
    folder = place if place.name == "ledger" else place / "ledger"
    if not folder.is_dir():
        raise RunError(f"no ledger in {place}; `tailwise reproduce {chosen.table.name} --out {place}` makes one")
    table = fill(chosen.cells, chosen.baselines, Ledger(folder).read(), known_places(chosen.cells))
    if options.format == "text":
        Console().print(to_text(table))
    else:
        print({"markdown": filled_markdown, "latex": to_latex, "csv": filled_csv}[options.format](table), end="")
    return 0


def _results(folder: Path) -> list[Result]:
    if (folder / "result.json").exists() or (folder / "recipe.yaml").exists():
        return [Result.from_folder(folder)]
    found = find_results(folder)
    if not found:
        raise RunError(f"no finished run in {folder}")
    return found


def _grouped(results: Sequence[Result]) -> dict[str, list[Result]]:
    groups: dict[str, list[Result]] = {}
    names: dict[str, str] = {}
    for result in results:
        name = names.get(result.recipe_hash)
        if name is None:
            name = result.recipe if result.recipe not in groups else f"{result.recipe} {result.recipe_hash[:6]}"
            names[result.recipe_hash] = name
        seeds = groups.setdefault(name, [])
        if all(other.seed != result.seed for other in seeds):
            seeds.append(result)
    return groups
