"""``tailwise compare``"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.markup import escape

from tailwise.commands.options import RecipeOptions, command_line, leading_names, parse
from tailwise.commands.warnings import warn
from tailwise.core.errors import TailwiseError
from tailwise.engine.loop import Interrupted
from tailwise.engine.progress import is_main_process, make_reporter
from tailwise.engine.recipe import Recipe
from tailwise.engine.run_folder import write_file
from tailwise.engine.train import train_many
from tailwise.report.ledger import Result
from tailwise.report.page import write_page
from tailwise.report.table import compare_table, to_markdown, to_rich

DESCRIPTION = (
    "Train several recipes with several seeds and compare them: tailwise compare RECIPE RECIPE... [options]. "
    "Options act on every recipe; results that exist are not trained again."
)


@dataclasses.dataclass(frozen=True)
class CompareOptions(RecipeOptions):
    """Options of ``tailwise compare``."""

    seeds: int = 3
    """Seeds per recipe, counted up from --seed."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("runs")
    """Where all runs and the page go."""


def run(arguments: Sequence[str]) -> int:
    """Trains what is missing, prints the table, writes the page."""
    names, rest = leading_names(arguments)
    if not names and not {"-h", "--help"} & set(rest):
        raise TailwiseError("compare needs recipes: tailwise compare ce balanced-softmax [options]")
    parsed = [parse(CompareOptions, name, rest, "tailwise compare RECIPE...", DESCRIPTION) for name in names or ["ce"]]
    options = parsed[0]
    if options.seeds < 1:
        raise TailwiseError(f"--seeds must be at least 1, got {options.seeds}")
    recipes = _unique([item.spec for item in parsed])
    console = Console()
    command = command_line("compare", arguments)
    warn(recipes.values())
    wishes = [
        (name, dataclasses.replace(recipe, seed=seed))
        for seed in range(options.spec.seed, options.spec.seed + options.seeds)
        for name, recipe in recipes.items()
    ]
    groups, failed = {name: list[Result]() for name in recipes}, list[str]()
    try:
        outcomes = train_many(
            [recipe for _, recipe in wishes],
            base=options.out,
            resume=True,
            reporter=make_reporter(console),
            command=command,
        )
    except Interrupted as error:
        raise Interrupted(f"{error}. Go on with: {command}") from error
    for (name, recipe), outcome in zip(wishes, outcomes, strict=True):
        if outcome.error is None:
            groups[name].append(Result.from_folder(outcome.folder))
        else:
            failed.append(f"{name} seed {recipe.seed}: {outcome.error}")
            console.print(f"[red]{escape(failed[-1])}[/]", highlight=False)
    wanted = next(iter(groups))
    groups = {name: results for name, results in groups.items() if results}
    if groups and is_main_process():
        _show(groups, options.out, console)
    if groups and wanted not in groups:
        console.print(f"[red]{escape(wanted)} did not finish; differences are to {escape(next(iter(groups)))}[/]")
    for line in failed:
        console.print(f"[red]not finished: {escape(line)}[/]", highlight=False)
    return 1 if failed else 0


def _show(groups: dict[str, list[Result]], out: Path, console: Console) -> None:
    table = compare_table(groups)
    first = next(iter(groups.values()))[0]
    place = first.folder.parent.parent
    key = "-".join(f"{result.recipe_hash}/{result.seed}" for results in groups.values() for result in results)
    name = f"compare-{hashlib.sha256(key.encode()).hexdigest()[:8]}"
    page = write_page(groups, place / f"{name}.html")
    write_file(place / f"{name}.md", to_markdown(table))
    console.print(to_rich(table, console.width))
    console.print(f"table: {place / f'{name}.md'}\npage: {page}", highlight=False, soft_wrap=True)


def _unique(recipes: Sequence[Recipe]) -> dict[str, Recipe]:
    """Recipes by name; equal names of different recipes get their hash."""
    found: dict[str, Recipe] = {}
    for recipe in recipes:
        taken = found.get(recipe.name)
        if taken is None:
            found[recipe.name] = recipe
        elif taken.hash != recipe.hash:
            found[f"{recipe.name} {recipe.hash[:6]}"] = recipe
    return found
