"""One self-contained HTML page for one run or several compared: no script, no network, light and dark, printable."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from tailwise.analysis.branches import branches
from tailwise.analysis.class_counts import class_counts
from tailwise.analysis.confusion_change import confusion_change
from tailwise.analysis.confusion_plot import confusion_plot
from tailwise.analysis.curves import curves
from tailwise.analysis.figure import figure_to_svg
from tailwise.analysis.gain_bars import gain_bars
from tailwise.analysis.groups import groups as group_bars
from tailwise.analysis.reliability import reliability
from tailwise.core.errors import RunError
from tailwise.core.stats import ClassStats
from tailwise.evaluation.shots import GROUPS, SHOT_PROTOCOLS
from tailwise.report.ledger import Result, one_per_seed, with_posthoc
from tailwise.report.summary import sentences
from tailwise.report.table import compare_table


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
    first = next(iter(chosen.values()))[0]
    # Everything is escaped, the page's own style sheet (included as a template) has nothing to escape.
    environment = Environment(
        loader=PackageLoader("tailwise.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("page.html.j2").render(
        title=f"{' · '.join(name for name, row in chosen.items() if row[0].changed is None)} on "
        f"{first.data.get('name')}",
        sentences=sentences(table, chosen),
        table=table,
        first=first,
        facts=_facts(chosen),
        shot_rule=SHOT_PROTOCOLS[first.shots],
        group_facts=first.groups(first.shots),
        unreadable=list(first.data.get("unreadable") or ()),
        figures=_figures(chosen),
        worst={name: worst_classes(results[0], _num_worst(first)) for name, results in chosen.items()},
        runs=[(name, result) for name, results in chosen.items() for result in results if result.changed is None],
        recipes=_recipes(chosen),
    )


def worst_classes(result: Result, limit: int = 10) -> list[dict[str, Any]]:
    """The classes with the lowest accuracy (smaller ones first when equal) and what they are taken for.

    Returns:
        Per class ``name``, ``count`` (training images), ``tested`` (test images), ``accuracy`` (percent) and
        ``confused``: up to three pairs of predicted class and percent.
    """
    confusion, counts, accuracy = result.confusion, result.class_counts, result.per_class
    tested = confusion.sum(axis=1)
    order = [int(c) for c in np.lexsort((counts, accuracy)) if tested[c] > 0][:limit]
    found: list[dict[str, Any]] = []
    for c in order:
        others = confusion[c].copy()
        others[c] = 0
        top = [int(other) for other in np.argsort(-others, kind="stable")[:3] if others[other] > 0]
        found.append(
            {
                "name": result.class_names[c],
                "count": int(counts[c]),
                "tested": int(tested[c]),
                "accuracy": float(accuracy[c]),
                "confused": [(result.class_names[other], 100 * float(others[other] / tested[c])) for other in top],
            }
        )
    return found


def _num_worst(result: Result) -> int:
    """Half of the classes, at least three and at most ten."""
    return min(10, max(3, result.class_counts.size // 2))


def _figures(chosen: Mapping[str, Sequence[Result]]) -> dict[str, Any]:
    first = next(iter(chosen.values()))[0]
    counts, names, shots = first.class_counts, first.class_names, first.shots
    reference = next(iter(chosen))
    accuracies = {name: _mean_per_class(results) for name, results in chosen.items()}
    bins = {name: results[0].reliability for name, results in chosen.items() if results[0].reliability}
    histories = {name: [result.metrics() for result in results] for name, results in chosen.items()}
    gains = {
        name: [
            None if a is None or b is None else a - b for a, b in zip(*_paired(results, chosen[reference]), strict=True)
        ]
        for name, results in chosen.items()
        if name != reference
    }
    rows = {row.name: row for row in compare_table(chosen).rows}
    bars = {name: {key: _pair(rows[name].cells.get(key)) for key in ("top1", *GROUPS)} for name in chosen}
    labels = {"top1": "all images (top-1)"} | {
        group: f"{group} ({record['classes']} {'class' if record['classes'] == 1 else 'classes'})"
        for group, record in first.groups(shots).items()
    }
    found: dict[str, Any] = {
        "classes": _svg(class_counts(counts, per_class=accuracies, class_names=names, shots=shots), "classes"),
        "groups": _svg(group_bars(bars, labels), "groups"),
        "branches": {
            name: _svg(branches([result.selected for result in results], labels), f"branches{number}")
            for number, (name, results) in enumerate(chosen.items())
            if all(result.selected.get("branches") for result in results)
        },
        "gains": None,
        "curves": None,
        "reliability": None,
        "confusion": {
            name: _svg(
                confusion_plot(results[0].confusion, counts, class_names=names, shots=shots), f"confusion{number}"
            )
            for number, (name, results) in enumerate(chosen.items())
        },
    }
    for number, (name, results) in enumerate(chosen.items()):
        stages: Mapping[str, Any] = results[0].record.get("stages") or {}
        before = results[0].confusion_after(max(map(int, stages))) if stages else None
        if before is not None and results[0].changed is None:
            change = confusion_change(before, results[0].confusion, counts, class_names=names)
            found["confusion"][f"{name}: before the last stage, and its change"] = _svg(change, f"change{number}")
    if gains:
        found["gains"] = _svg(gain_bars(gains, counts, baseline=reference, class_names=names, shots=shots), "gains")
    if any(record for runs in histories.values() for records in runs for record in records):
        found["curves"] = _svg(curves(histories), "curves")
    if bins:
        errors = {name: results[0].last.get("ece") for name, results in chosen.items()}
        found["reliability"] = _svg(reliability(bins, errors), "reliability")
    return found


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


def _paired(results: Sequence[Result], reference: Sequence[Result]) -> tuple[list[float | None], list[float | None]]:
    """Mean class accuracies of both over their common seeds (over all seeds when none is common)."""
    common = {result.seed for result in results} & {result.seed for result in reference}
    if not common:
        return _mean_per_class(results), _mean_per_class(reference)
    return (
        _mean_per_class([result for result in results if result.seed in common]),
        _mean_per_class([result for result in reference if result.seed in common]),
    )


def _mean_per_class(results: Sequence[Result]) -> list[float | None]:
    mean = np.stack([result.per_class for result in results]).mean(axis=0)
    return [float(value) if np.isfinite(value) else None for value in mean]


def _pair(cell: Any) -> tuple[float, float | None] | None:
    return None if cell is None else (cell.mean, cell.std)


def _svg(figure: Figure, name: str) -> Markup:
    # matplotlib escapes every text of a figure; the rest of the element is its own.
    return Markup(figure_to_svg(figure, name))
