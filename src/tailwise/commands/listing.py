"""``tailwise list``"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, get_args

import tyro
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tailwise.commands.cells import DEFAULT_PLACE
from tailwise.commands.options import checked
from tailwise.core.errors import UnknownName
from tailwise.core.registry import PACKAGES, REGISTRY, Entry
from tailwise.report.cells import all_tables
from tailwise.report.coverage import table_row
from tailwise.report.entries import Ledger
from tailwise.report.paper import Variant
from tailwise.report.table import NOTHING


@dataclasses.dataclass(frozen=True)
class ListOptions:
    """What there is to choose from."""

    kind: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="KIND")] = ""
    """losses, samplers, heads, backbones, recipes, datasets, objectives, schedules, tables, ..."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print JSON."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")] = DEFAULT_PLACE
    """For tables: where `reproduce` wrote, to say what is measured already."""


def run(arguments: Sequence[str]) -> int:
    """Prints names, hyper-parameters and summaries."""
    options = checked(lambda: tyro.cli(ListOptions, prog="tailwise list", args=list(arguments)))
    if options.kind and options.kind not in PACKAGES:
        raise UnknownName("kind", options.kind, PACKAGES)
    kinds = [options.kind] if options.kind else [kind for kind in PACKAGES if REGISTRY.entries(kind)]
    found = {kind: [_row(entry) for entry in REGISTRY.entries(kind)] for kind in kinds}
    if options.kind == "tables":
        return _tables(options)
    if options.json:
        print(json.dumps(found, indent=1))
        return 0
    console = Console()
    for kind, rows in found.items():
        table = Table(title=kind, title_justify="left", box=None, pad_edge=False)
        for column in ("name", "hyper-parameters", "what it is", "paper"):
            table.add_column(column, overflow="fold")
        for row in rows:
            presets = "".join(f"\n{name}: {values}" for name, values in row["presets"].items())
            shown = ", ".join(f"{key}={value}" for key, value in row["hyper_parameters"].items()) + presets
            table.add_row(row["name"], escape(shown), escape(row["summary"]), row["paper"] or "")
        console.print(table)
        if kind == "backbones":
            console.print("and any timm model by its name, for example resnet18 or vit_small_patch16_224")
    return 0


def _tables(options: ListOptions) -> int:
    """Every table of the papers, and how many of its cells have a result."""
    entries = Ledger(options.out / "ledger").read()
    rows = [table_row(table, entries) for table in all_tables()]
    if options.json:
        print(json.dumps({"tables": rows, "damaged": list(entries.damaged)}, indent=1))
        return 0
    console = Console()
    shown = Table(title=f"tables, measured in {options.out}", title_justify="left", box=None, pad_edge=False)
    shown.add_column("table", overflow="fold")
    for heading in ("rows x columns", "as printed", "as the code runs"):
        shown.add_column(heading, justify="right")
    for row in rows:
        counts = [
            f"{row[variant]['measured']} of {row[variant]['cells']}" if row[variant]["cells"] else NOTHING
            for variant in get_args(Variant)
        ]
        size = f"{row['rows']} x {len(row['columns'])}"
        shown.add_row(f"{row['name']}\n  [dim]{escape(row['title'])}[/]", size, *counts)
    console.print(shown)
    console.print("The names of the columns and the papers: tailwise list tables --json", highlight=False)
    for line in entries.damaged:
        console.print(f"[red]damaged and left out: {escape(line)}[/]", highlight=False, soft_wrap=True)
    return 0


def _row(entry: Entry) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if dataclasses.is_dataclass(entry.target):
        for field in dataclasses.fields(entry.target):
            values[field.name] = repr(field.default)
    presets = {
        name: ", ".join(f"{key}={value}" for key, value in fixed.items()) for name, fixed in entry.presets.items()
    }
    return {
        "name": entry.name,
        "hyper_parameters": values,
        "presets": presets,
        "summary": entry.summary,
        "paper": entry.paper,
    }
