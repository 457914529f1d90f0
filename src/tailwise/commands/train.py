"""``tailwise train``"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from tailwise.commands.options import (
    RecipeOptions,
    command_line,
    flag_value,
    leading_names,
    parse,
    recipe_or_default,
)
from tailwise.engine.loop import Interrupted
from tailwise.engine.progress import is_main_process, make_reporter
from tailwise.engine.train import train
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


def run(arguments: Sequence[str]) -> int:
    """Trains and prints the measures."""
    names, rest = leading_names(arguments)
    out = flag_value(rest, "--out")
    recipe = recipe_or_default(names, None if out is None else Path(out), resume="--resume" in rest)
    options = parse(TrainOptions, recipe, rest, "tailwise train [RECIPE]", DESCRIPTION)
    console = Console()
    command = command_line("train", arguments)
    try:
        folder = train(
            options.spec,
            options.out or (None if options.spec.run.folder is None else Path(options.spec.run.folder)),
            resume=options.resume,
            reporter=make_reporter(console),
            command=command,
        )
    except Interrupted as error:
        again = command if options.resume else f"{command} --resume"
        raise Interrupted(f"{error}. Go on with: {again}") from error
    if not is_main_process():
        return 0
    result = Result.from_folder(folder)
    console.print(to_rich(compare_table({result.recipe: [result]}), console.width))
    console.print(f"run: {folder}\npage: {folder / 'report.html'}", highlight=False, soft_wrap=True)
    return 0
