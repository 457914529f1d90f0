"""One self-contained HTML page for one run or several compared: no network, light and dark, printable.

Everything can be read without the page's script, which only sorts and filters the tables.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from tailwise.core.errors import RunError
from tailwise.core.stats import ClassStats
from tailwise.evaluation.flow import ENDS
from tailwise.evaluation.shots import GROUPS, SHOT_PROTOCOLS
from tailwise.report.classes import class_rows, num_worst, worst_classes
from tailwise.report.compared import Compared
from tailwise.report.cost import cost_rows
from tailwise.report.examples import example_classes
from tailwise.report.figures import draw_figures
from tailwise.report.ledger import Result, one_per_seed, with_posthoc
from tailwise.report.summary import sentences
from tailwise.report.table import MINUS, NOTHING, compare_table


def write_page(groups: Mapping[str, Sequence[Result]], path: Path) -> Path:
    """Writes the page; an existing file is replaced only by a complete one.

    Args:
        groups: Name -> results that differ in the seed; the first name is what the others are compared with.
        path: The HTML file.

    Returns:
        ``path``.

    Raises:
        DataError: No result, or results of different classes.
        RunError: The file cannot be written.
    """
    text = render_page(groups)
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            temporary.write_text(text, encoding="utf-8", errors="replace")
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}") from error
    return path


def render_page(groups: Mapping[str, Sequence[Result]]) -> str:
    """The text of the page; names of classes, files and recipes are escaped.

    Raises:
        DataError: No result, or results of different classes.
    """
    groups = with_posthoc(groups)
    table = compare_table(groups)
    chosen = {name: one_per_seed(results) for name, results in groups.items() if results}
    compared = Compared(chosen, table)
    first, weak = compared.first, num_worst(len(compared.names), len(chosen))
    # Everything is escaped; the page's own style sheet (included as a template) has nothing to escape.
    environment = Environment(
        loader=PackageLoader("tailwise.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    cast("dict[str, Any]", environment.filters).update(percent=_percent, points=_points, plural=_plural)
    script = importlib.resources.files("tailwise.report").joinpath("templates/page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    return environment.get_template("page.html.j2").render(
        title=f"{' · '.join(name for name, row in chosen.items() if row[0].changed is None)} on "
        f"{first.data.get('name')}",
        # The browser runs this script and no other, and asks nobody for anything.
        policy=f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{digest}'",
        script=Markup(script),
        sentences=sentences(table, chosen),
        table=table,
        compared=compared,
        first=first,
        facts=_facts(chosen),
        shot_rule=SHOT_PROTOCOLS[first.shots],
        group_facts=first.groups(first.shots),
        group_names=GROUPS,
        ends=[end for end in ENDS if end != "no group" or "" in compared.group_of],
        unreadable=list(first.data.get("unreadable") or ()),
        figures=draw_figures(compared),
        classes=class_rows(compared),
        worst={name: worst_classes(results[0], weak) for name, results in chosen.items()},
        examples=example_classes(chosen),
        costs=cost_rows(chosen),
        runs=[(name, result) for name, results in chosen.items() for result in results if result.changed is None],
        recipes=_recipes(chosen),
    )


def _percent(value: float | None, digits: int = 1) -> str:
    return NOTHING if value is None else f"{value:.{digits}f}"


def _points(value: float | None) -> str:
    return NOTHING if value is None else f"{value:+z.1f}".replace("-", MINUS)


def _plural(number: int, one: str, several: str) -> str:
    return f"{number:,} {one if number == 1 else several}"


def _facts(chosen: Mapping[str, Sequence[Result]]) -> list[tuple[str, str]]:
    first = next(iter(chosen.values()))[0]
    stats, data = ClassStats(first.class_counts), first.data
    largest, smallest = stats.by_frequency[0], stats.by_frequency[-1]
    facts = [
        ("data set", str(data.get("name"))),
        ("location", str(data["location"]) if data.get("location") else ""),
        ("classes", f"{stats.num_classes:,}"),
        ("training images", f"{stats.num_images:,}"),
        ("test images", f"{int(first.confusion.sum()):,}"),
        ("imbalance factor", f"{stats.imbalance_factor:,.4g} (largest class / smallest class)"),
        ("largest class", f"{first.class_names[largest]}: {int(stats.counts[largest]):,} images"),
        ("smallest class", f"{first.class_names[smallest]}: {int(stats.counts[smallest]):,} images"),
        ("fingerprint", str(data.get("fingerprint") or "")),
    ]
    return [(key, value) for key, value in facts if value]


def _recipes(chosen: Mapping[str, Sequence[Result]]) -> list[tuple[str, str, str]]:
    """(name, hash, YAML) of every distinct recipe."""
    found: dict[str, tuple[str, str, str]] = {}
    for name, results in chosen.items():
        for result in results:
            text = result.recipe_yaml()
            if text is not None:
                found.setdefault(result.recipe_hash, (name, result.recipe_hash, text))
    return list(found.values())
