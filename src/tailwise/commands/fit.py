"""``tailwise fit``"""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console

from tailwise.commands.options import checked, command_line
from tailwise.data.card_table import format_card
from tailwise.engine.loop import Interrupted
from tailwise.engine.progress import make_reporter
from tailwise.own.fit import Fitted, fit
from tailwise.report.ledger import Result
from tailwise.report.table import compare_table, to_rich


@dataclasses.dataclass(frozen=True)
class FitOptions:
    """From your images to a trained, measured and calibrated run; test images are left alone."""

    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="PATH")]
    """A folder PATH/<class>/image or PATH/{train,val,test}/<class>/image, a list file, a CSV or Parquet table."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Gets data.csv and the run; runs/<name>-fit when not given."""
    root: Path | None = None
    """The folder that the paths of a list or table start from."""
    image_column: str | None = None
    """The table's column of image paths, or of images as bytes."""
    label_column: str | None = None
    """The table's column of class names or numbers."""
    group_column: str | None = None
    """A column whose equal values (a camera, a patient, a lot) stay on one side of the validation split."""
    group_regex: str | None = None
    """The same for paths: what the expression's first group finds."""
    share: float = 0.2
    """Share of each class that is held out when no validation images are given."""
    recipe: str | None = None
    """A recipe (`tailwise list recipes`) in place of the one that is chosen."""
    backbone: str | None = None
    image_size: int | None = None
    epochs: int | None = None
    seed: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    resume: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Go on with an interrupted fit."""


def run(arguments: Sequence[str]) -> int:
    """Fits, and ends with the next commands."""
    options = checked(lambda: tyro.cli(FitOptions, prog="tailwise fit", args=list(arguments)))
    console = Console()
    values = {item.name: getattr(options, item.name) for item in dataclasses.fields(options)}
    out = values.pop("out") or Path("runs", f"{options.source.resolve().stem}-fit")
    command = command_line("fit", arguments)
    try:
        fitted = checked(
            lambda: fit(
                **values,
                out=out,
                on_card=lambda card: console.print(format_card(card)),
                reporter=make_reporter(console),
                command=command,
            )
        )
    except Interrupted as error:
        again = command if options.resume else f"{command} --resume"
        raise Interrupted(f"{str(error).split(' Go on with')[0]} Go on with: {again}") from error
    result = Result.from_folder(fitted.run)
    console.print(to_rich(compare_table({result.recipe: [result]}), console.width))
    console.print(_next(options, fitted), highlight=False, soft_wrap=True, markup=False)
    return 0


def _next(options: FitOptions, fitted: Fitted) -> str:
    run = shlex.quote(str(fitted.run))
    lines = [
        "measured on validation images, after the last epoch",
        f"page:     {fitted.run / 'report.html'}",
        "next:",
        f"  tailwise predict {run} IMAGES... --csv predictions.csv",
        f"  tailwise export {run}",
        f"  tailwise compare ce balanced-softmax crt --data {shlex.quote(str(fitted.table))} "
        f"--root {shlex.quote(str((options.root or _root(options)).resolve()))} --data.eval-split val",
    ]
    if fitted.has_test:
        lines.append(
            f"  tailwise evaluate {run} --data {shlex.quote(str(fitted.table))} "
            f"--root {shlex.quote(str((options.root or _root(options)).resolve()))} --eval-split test"
        )
    return "\n".join(lines)


def _root(options: FitOptions) -> Path:
    return options.source if options.source.is_dir() else options.source.parent
