"""``tailwise list``"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tailwise.commands.options import checked
from tailwise.core.errors import UnknownName
from tailwise.core.registry import PACKAGES, REGISTRY, Entry


@dataclasses.dataclass(frozen=True)
class ListOptions:
    """What there is to choose from."""

    kind: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="KIND")] = ""
    """losses, samplers, heads, backbones, recipes, datasets, objectives, schedules, ..."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print JSON."""


def run(arguments: Sequence[str]) -> int:
    """Prints names, hyper-parameters and summaries."""
    options = checked(lambda: tyro.cli(ListOptions, prog="tailwise list", args=list(arguments)))
    if options.kind and options.kind not in PACKAGES:
        raise UnknownName("kind", options.kind, PACKAGES)
    kinds = [options.kind] if options.kind else [kind for kind in PACKAGES if REGISTRY.entries(kind)]
    found = {kind: [_row(entry) for entry in REGISTRY.entries(kind)] for kind in kinds}
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
