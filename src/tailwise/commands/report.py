"""``tailwise report``"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console

from tailwise.commands.options import checked
from tailwise.core.errors import RunError
from tailwise.report.ledger import Result, find_results
from tailwise.report.page import write_page
from tailwise.report.table import compare_table, to_csv, to_markdown, to_rich


@dataclasses.dataclass(frozen=True)
class ReportOptions:
    """One page and one table for finished runs; runs of one recipe are put together over their seeds."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN...")]
    """Run folders, or folders that hold some. The first recipe is what the others are compared with."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """The page; when not given, report.html in the one folder named, or in the current one for several."""
    format: Literal["text", "markdown", "csv"] = "text"
    """How the table is printed."""


def run(arguments: Sequence[str]) -> int:
    """Writes the page and prints the table."""
    options = checked(lambda: tyro.cli(ReportOptions, prog="tailwise report", args=list(arguments)))
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
