"""The command line: one table of commands; mistakes of a user become one clear line and exit status 2."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from types import MappingProxyType

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tailwise.core.errors import TailwiseError, UnknownName

#: Command -> the module whose ``run(arguments)`` does it, and a line for the overview.
COMMANDS = MappingProxyType(
    {
        "fit": ("tailwise.commands.fit", "from your folder or table of images to a trained and calibrated model"),
        "train": ("tailwise.commands.train", "train a recipe on a data set or a folder of images"),
        "compare": ("tailwise.commands.compare", "train several recipes with several seeds; one table, one page"),
        "reproduce": ("tailwise.commands.reproduce", "a paper's table, trained and printed beside the paper's numbers"),
        "evaluate": ("tailwise.commands.evaluate", "measure a trained run, also on other images"),
        "calibrate": (
            "tailwise.commands.calibrate",
            "temperature, prediction sets and abstention from held-out images",
        ),
        "predict": ("tailwise.commands.predict", "what a trained run says about images or a folder of them"),
        "export": ("tailwise.commands.export", "a trained run as one file for other runtimes: ONNX, torch.export"),
        "report": ("tailwise.commands.report", "one page and one table for finished runs"),
        "figure": ("tailwise.commands.figure", "gains, weight norms, class losses or feature maps of finished runs"),
        "data": ("tailwise.commands.data", "look at a data set, or pack it: `tailwise data card|pack NAME|PATH`"),
        "list": ("tailwise.commands.listing", "what there is: losses, samplers, heads, recipes, datasets, tables"),
        "show": ("tailwise.commands.show", "a complete recipe as YAML"),
    }
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        argv: Arguments without the program's name; those of the process when not given.

    Returns:
        0 when all went well, 1 when part of a comparison failed, 2 for a mistake in the input, 130 when interrupted.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    errors = Console(stderr=True)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        _overview(Console())
        return 0
    if arguments[0] == "--version":
        print(importlib.import_module("importlib.metadata").version("tailwise"))
        return 0
    try:
        if arguments[0] not in COMMANDS:
            raise UnknownName("command", arguments[0], COMMANDS)
        module = importlib.import_module(COMMANDS[arguments[0]][0])
        return int(module.run(arguments[1:]))
    except TailwiseError as error:
        from tailwise.engine.loop import Interrupted
        from tailwise.engine.watchdog import told_elsewhere

        stopped = isinstance(error, Interrupted)
        said = f"[bold red]{'stopped' if stopped else 'error'}:[/] {escape(str(error))}"
        if not told_elsewhere(error):
            errors.print(said, soft_wrap=True, highlight=False)
        return 130 if stopped else 2
    except KeyboardInterrupt:
        errors.print("[bold red]stopped[/]")
        return 130
    except BrokenPipeError:
        return 0


def _overview(console: Console) -> None:
    console.print("[bold]tailwise[/]: long-tailed image recognition, from a folder of images to a measured model\n")
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, (_, summary) in COMMANDS.items():
        table.add_row(f"  tailwise [bold]{name}[/]", escape(summary))
    console.print(table)
    console.print("\n`tailwise COMMAND --help` shows every option. `tailwise train` alone trains on embedded digits.")
