"""Writes one page for every entry of the registry and one overview for every kind; `conf.py` calls it at build time."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import shutil
import textwrap
from pathlib import Path
from typing import Any

import tailwise
from tailwise.core.registry import PACKAGES, REGISTRY, SINGULAR, Entry
from tailwise.core.spec import differences
from tailwise.recipes.base import base_recipe, make_recipe

PACKAGE = Path(inspect.getfile(tailwise)).parent

#: How an entry of a kind is used on the command line.
USES = {
    "losses": "tailwise train --with loss={name}",
    "samplers": "tailwise train --with sampler={name}",
    "heads": "tailwise train --with head={name}",
    "backbones": "tailwise train --with backbone={name}",
    "mixes": "tailwise train --with mix={name}",
    "feature_augs": "tailwise train --with feature_aug={name}",
    "generators": "tailwise train cam-balance-sampling --with generate={name}",
    "posthocs": "tailwise evaluate RUN --posthoc {name}",
    "recipes": "tailwise train {name}",
}


def write_pages(folder: Path) -> list[Path]:
    """Replaces the folder by `<kind>.md` and `<kind>/<name>.md` for everything that is registered now.

    Returns:
        The page of every entry.
    """
    shutil.rmtree(folder, ignore_errors=True)
    pages: list[Path] = []
    for kind in PACKAGES:
        entries = REGISTRY.entries(kind)
        if not entries:
            continue
        (folder / kind).mkdir(parents=True)
        (folder / f"{kind}.md").write_text(_overview(kind, entries), encoding="utf-8")
        for entry in entries:
            pages.append(folder / kind / f"{entry.name}.md")
            pages[-1].write_text(_page(entry), encoding="utf-8")
    return pages


def _overview(kind: str, entries: list[Entry]) -> str:
    title = kind.replace("_", " ").capitalize()
    names = "\n".join(f"{entry.name} <{kind}/{entry.name}>" for entry in entries)
    rows = "\n".join(f"* - [{entry.name}]({kind}/{entry.name}.md)\n  - {_markdown(entry.summary)}" for entry in entries)
    table = f"```{{list-table}}\n:header-rows: 1\n\n* - name\n  - what it is\n{rows}\n```"
    return f"# {title}\n\n{table}\n\n```{{toctree}}\n:hidden:\n\n{names}\n```\n"


def _page(entry: Entry) -> str:
    where = f"{entry.target.__module__}.{entry.target.__name__}"
    directive = "autoclass" if isinstance(entry.target, type) else "autofunction"
    parts = [
        f"# {entry.name}",
        f"Registered {SINGULAR[entry.kind]}, in [`{entry.target.__module__}`](#{entry.target.__module__}).",
    ]
    if entry.kind in USES:
        parts.append(f"```console\n$ {USES[entry.kind].format(name=entry.name)}\n```")
    parts.append(f"```{{eval-rst}}\n.. {directive}:: {where}\n   :no-index:\n```")
    parts += _hyper_parameters(entry) + _presets(entry) + _changes(entry)
    if entry.paper is not None:
        parts.append(f"## Paper\n\n{{cite:t}}`{entry.paper}` (`{entry.paper}` in `docs/references.bib`)")
    source = Path(inspect.getfile(entry.target)).relative_to(PACKAGE).as_posix()
    include = (
        f"```{{literalinclude}} /../src/tailwise/{source}\n:language: python\n:pyobject: {entry.target.__name__}\n```"
    )
    parts.append(f"## Source\n\n`src/tailwise/{source}`\n\n{include}")
    return "\n\n".join(parts) + "\n"


def _hyper_parameters(entry: Entry) -> list[str]:
    if not isinstance(entry.target, type) or not dataclasses.is_dataclass(entry.target):
        return []
    notes = _field_notes(entry.target)
    rows: list[str] = []
    for field in dataclasses.fields(entry.target):
        note = f"\n  - {_markdown(notes[field.name])}" if field.name in notes else "\n  -"
        rows.append(f"* - `{field.name}`\n  - `{field.type}`\n  - `{_default(field)}`{note}")
    if not rows:
        return ["## Hyper-parameters\n\nNone."]
    head = "```{list-table}\n:header-rows: 1\n\n* - name\n  - type\n  - default\n  - note\n"
    return ["## Hyper-parameters\n\n" + head + "\n".join(rows) + "\n```"]


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is not dataclasses.MISSING:
        return repr(field.default)
    return "required" if field.default_factory is dataclasses.MISSING else repr(field.default_factory())


def _field_notes(target: type) -> dict[str, str]:
    """The text below each field of a dataclass."""
    body = ast.parse(textwrap.dedent(inspect.getsource(target))).body[0]
    assert isinstance(body, ast.ClassDef)
    notes: dict[str, str] = {}
    for item, after in zip(body.body, body.body[1:], strict=False):
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name) and isinstance(after, ast.Expr):
            text = after.value
            if isinstance(text, ast.Constant) and isinstance(text.value, str):
                notes[item.target.id] = " ".join(text.value.split())
    return notes


def _presets(entry: Entry) -> list[str]:
    if not entry.presets:
        return []
    lines = [
        f"- `{name}` is `{entry.name}({', '.join(f'{key}={value!r}' for key, value in fixed.items())})`"
        for name, fixed in entry.presets.items()
    ]
    return ["## Other names\n\n" + "\n".join(lines)]


def _changes(entry: Entry) -> list[str]:
    if entry.kind != "recipes":
        return []
    base = base_recipe("digits")
    found = [
        (path, left, right)
        for path, left, right in differences(base, make_recipe(entry.name, base))
        if path not in ("name", "notes")
    ]
    if not found:
        return ["## What it changes\n\nNothing: it is the base settings of the data themselves."]
    rows = "\n".join(f"* - `{path}`\n  - `{left!r}`\n  - `{right!r}`" for path, left, right in found)
    head = "```{list-table}\n:header-rows: 1\n\n* - field\n  - base settings\n  - this recipe\n"
    return ["## What it changes\n\nAgainst the base settings of `digits`:\n\n" + head + rows + "\n```"]


def _markdown(text: str) -> str:
    """The mathematics and literals of a docstring's sentence in Markdown."""
    return re.sub(r":math:`([^`]*)`", r"$\1$", text).replace("``", "`")
