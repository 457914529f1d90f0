"""``tailwise train``"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.markup import escape

from tailwise.commands.options import (
    RecipeOptions,
    command_line,
    flag_value,
    leading_names,
    parse,
    recipe_or_default,
)
from tailwise.commands.warnings import warn
from tailwise.core.errors import TailwiseError
from tailwise.engine.loop import Interrupted
from tailwise.engine.progress import is_main_process, make_reporter
from tailwise.engine.train import train_many
from tailwise.report.ledger import Result
from tailwise.report.table import compare_table, to_rich

DESCRIPTION = "Train a recipe: tailwise train [RECIPE] [options]. RECIPE is a name (tailwise list recipes) or a file."


@dataclasses.dataclass(frozen=True)
class TrainOptions(RecipeOptions):
    """Options of ``tailwise train``."""

    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """The run's folder; runs/<data>/<recipe>-<hash>/seed<seed> when not given."""
    resume: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Go on from the last checkpoint in the run's folder."""
    seeds: int = 1
    """Train with so many seeds, counted up from --seed, side by side on a GPU; --out then holds a folder for each."""


def run(arguments: Sequence[str]) -> int:
    """Trains and prints the measures."""
    names, rest = leading_names(arguments)
    out = flag_value(rest, "--out")
    recipe = recipe_or_default(names, None if out is None else Path(out), resume="--resume" in rest)
    options = parse(TrainOptions, recipe, rest, "tailwise train [RECIPE]", DESCRIPTION)
    if options.seeds < 1:
        raise TailwiseError(f"--seeds must be at least 1, got {options.seeds}")
    recipe = options.spec
    place = options.out or (None if recipe.run.folder is None else Path(recipe.run.folder))
    if options.seeds > 1 and place is not None and (place / "recipe.yaml").exists():
        raise TailwiseError(
            f"{place} holds a single run, and --seeds {options.seeds} makes a folder for each seed; "
            "nothing was changed. Choose another --out"
        )
    recipes = [dataclasses.replace(recipe, seed=recipe.seed + number) for number in range(options.seeds)]
    outs = [place if place is None or len(recipes) == 1 else place / f"seed{item.seed}" for item in recipes]
    console = Console()
    command = command_line("train", arguments)
    warn(recipes)
    try:
        outcomes = train_many(recipes, outs, resume=options.resume, reporter=make_reporter(console), command=command)
    except Interrupted as error:
        again = command if options.resume else f"{command} --resume"
        raise Interrupted(f"{error}. Go on with: {again}") from error
    finished = [outcome for outcome in outcomes if outcome.error is None]
    errors = [outcome.error for outcome in outcomes if outcome.error is not None]
    if errors and not finished:
        raise errors[0]
    if not is_main_process():
        return 1 if errors else 0
    results = [Result.from_folder(outcome.folder) for outcome in finished]
    console.print(to_rich(compare_table({results[0].recipe: results}), console.width))
    for outcome in finished:
        page = outcome.folder / "report.html"
        console.print(f"run: {outcome.folder}\npage: {page}", highlight=False, soft_wrap=True)
    for error in errors:
        console.print(f"[red]not finished: {escape(str(error))}[/]", highlight=False)
    return 1 if errors else 0
