"""``tailwise data card``, and the way to ``tailwise data`` ``pack``, ``cam`` and ``features``"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console

from tailwise.commands import cam, features, pack
from tailwise.commands.options import checked
from tailwise.core.errors import UnknownName
from tailwise.data.card import data_card
from tailwise.data.card_figure import draw_card
from tailwise.data.card_table import format_card
from tailwise.data.open import guess_source, open_data, prepare_index
from tailwise.engine.checkpoint import write_error

OVERVIEW = """usage: tailwise data {card,pack,cam,features} [-h] ...

Look at a data set before training, or decode it once for many trainings.

  tailwise data card NAME|PATH              class sizes, imbalance, shot groups, unreadable files, duplicates
  tailwise data pack NAME|PATH --size 256   every image decoded once into one file, for `tailwise train --pack`
  tailwise data cam RUN                     the foregrounds that CAM-based sampling moves, as a finished run sees them
  tailwise data features RUN                class-specific and class-generic parts of a finished run's features

`tailwise data card --help` shows every option, and so for the others."""


@dataclasses.dataclass(frozen=True)
class CardOptions:
    """What is in a data set: class sizes, imbalance, shot groups, unreadable files, duplicates, and a picture."""

    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME|PATH")]
    """A data set (tailwise list datasets), a folder PATH/{train,val|test}/<class>/image, or a list file."""
    root: Path | None = None
    """Where the files of a downloaded data set, or the images of a list, lie."""
    eval_split: Literal["auto", "val", "test"] = "auto"
    eval_list: Path | None = None
    """The list file of evaluation images."""
    imbalance: float | None = None
    """Look at the training set cut to this imbalance factor."""
    profile: Literal["exponential", "step", "pareto"] = "exponential"
    max_per_class: int | None = None
    subset: Path | None = None
    """Look at a saved subset."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print JSON instead of tables."""
    check: bool = True
    """Decode every image and look for exact duplicates."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """The picture; <name>-card.png in the current folder when not given."""


def run(arguments: Sequence[str]) -> int:
    """Runs one of the data commands."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(OVERVIEW)
        raise SystemExit(0)
    if arguments[0] == "pack":
        return pack.run(arguments[1:])
    if arguments[0] == "cam":
        return cam.run(arguments[1:])
    if arguments[0] == "features":
        return features.run(arguments[1:])
    if arguments[0] != "card":
        raise UnknownName("data command", arguments[0], ["card", "pack", "cam", "features"])
    return card(arguments[1:])


def card(arguments: Sequence[str]) -> int:
    """Prints the card and draws the picture."""
    options = checked(lambda: tyro.cli(CardOptions, prog="tailwise data card", args=list(arguments)))
    name, location = guess_source(options.source)
    splits = open_data(
        name, location=location, root=options.root, eval_split=options.eval_split, eval_list=options.eval_list
    )
    index = prepare_index(
        splits,
        imbalance_factor=options.imbalance,
        profile=options.profile,
        max_per_class=options.max_per_class,
        subset_seed=0,
        subset_file=options.subset,
    )
    facts = data_card(splits, index, check_images=options.check, duplicates=options.check)
    picture = options.out or Path(f"{splits.train.source}-card.png")
    try:
        draw_card(facts, splits, picture)
    except OSError as error:
        raise write_error(error, picture.parent) from error
    if options.json:
        print(json.dumps({**facts, "picture": str(picture)}, indent=1))
    else:
        console = Console()
        console.print(format_card(facts))
        console.print(f"picture: {picture}", highlight=False, soft_wrap=True)
    return 0
