"""Options shared by the commands that take a recipe. The recipe's own fields are options too, with its values as
defaults, so a few options (data, epochs, components) are looked up before the full parse.
"""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import tyro

from tailwise.commands.resolve import DEFAULT_RECIPE, load_recipe
from tailwise.core.errors import TailwiseError
from tailwise.core.spec import SpecError
from tailwise.engine.recipe import Recipe

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class RecipeOptions:
    """What `train`, `compare` and `show` share."""

    data: Annotated[str | None, tyro.conf.arg(metavar="NAME|PATH")] = None
    """A data set (`tailwise list datasets`), a folder PATH/{train,val|test}/<class>/image, or a list file."""
    epochs: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Compress or stretch the recipe, its stages and schedules to so many epochs."""
    changes: Annotated[tuple[str, ...], tyro.conf.arg(name="with", metavar="SLOT=COMPONENT")] = ()
    """Replace components: loss=balanced_softmax sampler=power(q=0.5) head=cosine(scale=16) backbone=resnet44"""
    spec: Annotated[Recipe, tyro.conf.arg(name="")] = dataclasses.field(default_factory=Recipe)


def leading_names(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Splits recipe names, which come first, from the options after them."""
    end = next((number for number, text in enumerate(arguments) if text.startswith("-")), len(arguments))
    return list(arguments[:end]), list(arguments[end:])


def parse(kind: type[T], recipe: str, arguments: Sequence[str], prog: str, description: str) -> T:
    """Parses the options of a command around one recipe.

    Args:
        kind: A dataclass derived from :class:`RecipeOptions`.
        recipe: Name or file of the recipe whose values are the defaults.
        arguments: Everything after the recipe names.
        prog: For the help text.
        description: For the help text.

    Raises:
        TailwiseError: A value that a field refuses, an unknown name, an unreadable file or folder.
        SystemExit: From tyro, for unknown options (with near ones) and for ``--help``.
    """
    default = load_recipe(
        recipe,
        data=_value(arguments, "--data"),
        root=_value(arguments, "--root", "--data.root"),
        image_size=_whole(_value(arguments, "--image-size", "--data.image-size")),
        epochs=_whole(_value(arguments, "--epochs")),
        eval_list=_value(arguments, "--eval-list", "--data.eval-list"),
        eval_split=_value(arguments, "--data.eval-split") or "auto",
        changes=_values(arguments, "--with"),
    )
    return checked(
        lambda: tyro.cli(
            kind,
            prog=prog,
            description=description,
            args=list(arguments),
            default=kind(spec=default),  # pyright: ignore[reportCallIssue]
            config=(tyro.conf.AvoidSubcommands,),
        )
    )


def checked(parse_options: Callable[[], T]) -> T:
    """Runs a parse; a value that a dataclass refuses becomes a message instead of a traceback."""
    try:
        return parse_options()
    except ValueError as error:
        raise SpecError(str(error)) from error


def recipe_or_default(names: Sequence[str], out: Path | None, *, resume: bool) -> str:
    """The one recipe that is meant: the given one, that of the run to resume, or the default.

    Raises:
        TailwiseError: More than one.
    """
    if len(names) > 1:
        raise TailwiseError(
            f"train takes one recipe, got {len(names)}: {' '.join(names)}; several are trained by "
            f"`tailwise compare {' '.join(names)}`"
        )
    if names:
        return names[0]
    if resume and out is not None and (out / "recipe.yaml").exists():
        return str(out / "recipe.yaml")
    return DEFAULT_RECIPE


def flag_value(arguments: Sequence[str], name: str) -> str | None:
    """The value of an option before the full parse."""
    return _value(arguments, name)


def command_line(command: str, arguments: Sequence[str]) -> str:
    """The command as it can be typed again."""
    return shlex.join(["tailwise", command, *arguments])


def _values(arguments: Sequence[str], *names: str) -> list[str]:
    """Values of the last use of an option; the parser takes - and _ alike, and the last use, too."""
    found: list[str] = []
    for number, text in enumerate(arguments):
        option, equals, value = text.partition("=")
        if option.replace("_", "-") not in names:
            continue
        rest = arguments[number + 1 :]
        end = next((index for index, item in enumerate(rest) if re.match(r"-(?!\d)", item)), len(rest))
        found = [value] if equals else list(rest[:end])
    return found


def _value(arguments: Sequence[str], *names: str) -> str | None:
    return next(iter(_values(arguments, *names)), None)


def _whole(text: str | None) -> Any:
    """The number, or None for what the full parse will refuse with its own message."""
    return int(text) if text is not None and re.fullmatch(r"-?\d+", text) else None
