"""A filled table as text for a terminal, Markdown, LaTeX and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table as RichTable
from rich.text import Text

from tailwise.report.filled import Filled, FilledTable
from tailwise.report.table import MINUS, NOTHING, Statistic

HEADINGS = ("row", "ours", "n", "best on test", "paper", "repository", "older", "ours − base", "paper − base")

_TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", MINUS: "$-$", NOTHING: "--",
    "α": r"$\alpha$", "β": r"$\beta$", "γ": r"$\gamma$", "τ": r"$\tau$", "<": "$<$", ">": "$>$", "+": "$+$",
}  # fmt: skip


def to_text(table: FilledTable, *, commands: bool = True) -> Group:
    """The table for a terminal: a part for each column of the paper, below it the command of every cell."""
    parts: list[RenderableType] = [Text(table.title, style="bold")]
    for title, section in table.sections.items():
        rich = RichTable(title=escape(title), title_justify="left", box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
        for number, heading in enumerate(HEADINGS):
            rich.add_column(heading, justify="left" if number == 0 else "right")
        for item in section:
            rich.add_row(*(Text(text) for text in _cells(item)))
        parts += [Text(), rich]
        if commands:
            parts += [Text(item.cell.command, style="dim", no_wrap=True) for item in section if item.cell.recipe]
    return Group(*parts, Text(), Text("\n".join(table.notes), style="dim"))


def to_markdown(table: FilledTable) -> str:
    """GitHub Markdown."""
    lines = [f"**{_plain(table.title)}**"]
    for title, section in table.sections.items():
        lines += ["", f"{_plain(title)}", "", _line(HEADINGS), _line(["---", *["---:"] * (len(HEADINGS) - 1)])]
        lines += [_line(_cells(item)) for item in section]
    commands = [item.cell.command for section in table.sections.values() for item in section if item.cell.recipe]
    lines += ["", *(f"- {note}" for note in table.notes), "", "One cell each:", "", "```sh", *commands, "```"]
    return "\n".join(lines) + "\n"


def to_latex(table: FilledTable) -> str:
    """A ``tabular`` for the package booktabs, notes and commands as comments."""
    lines = [
        f"% {table.title}",
        *(f"% {note}" for note in table.notes),
        rf"\begin{{tabular}}{{l{'r' * (len(HEADINGS) - 1)}}}",
        r"\toprule",
        f"{' & '.join(_tex(text) for text in HEADINGS)} \\\\",
    ]
    for title, section in table.sections.items():
        lines += [r"\midrule", rf"\multicolumn{{{len(HEADINGS)}}}{{l}}{{{_tex(title)}}} \\"]
        for item in section:
            lines.append(f"{' & '.join(_tex(text) for text in _cells(item))} \\\\")
            if item.cell.recipe:
                lines.append(f"% {item.cell.command}")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def to_csv(table: FilledTable) -> str:
    """CSV with full precision; an empty field where nothing is known."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    names = ("ours", "best_on_test", "difference")
    writer.writerow([
        "table", "column", "row", "label", "variant", "recipe_hash", "seeds",
        *(f"{name}_{part}" for name in names for part in ("mean", "std", "n")),
        "paper", "repository_newest", "repository_older", "paper_difference", "command",
    ])  # fmt: skip
    for title, section in table.sections.items():
        for item in section:
            cell = item.cell
            statistics = [_three(value) for value in (item.last, item.best, item.difference)]
            writer.writerow([
                cell.table.name, title, cell.row.name, cell.row.label, cell.variant,
                "" if cell.recipe is None else cell.recipe.hash, " ".join(map(str, item.seeds)),
                *(value for three in statistics for value in three),
                *("" if value is None else value
                  for value in (item.paper, item.newest, item.older, item.paper_difference)),
                cell.command if cell.recipe else "",
            ])  # fmt: skip
    return buffer.getvalue()


def _cells(item: Filled) -> list[str]:
    pairs = item.difference
    different = "" if pairs is None or pairs.n == len(item.seeds) else f" (n={pairs.n})"
    return [
        item.cell.row.label,
        NOTHING if item.last is None else item.last.show(2),
        str(len(item.seeds)),
        NOTHING if item.best is None else item.best.show(2),
        *(_number(value) for value in (item.paper, item.newest, item.older)),
        NOTHING if pairs is None else pairs.show(2, sign=True) + different,
        _number(item.paper_difference, sign=True),
    ]


def _number(value: float | None, *, sign: bool = False) -> str:
    return NOTHING if value is None else f"{value:{'+' if sign else ''}z.2f}".replace("-", MINUS)


def _three(value: Statistic | None) -> tuple[object, object, object]:
    return ("", "", 0) if value is None else (value.mean, "" if value.std is None else value.std, value.n)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_plain(cell).replace("|", "\\|") for cell in cells) + " |"


def _plain(text: str) -> str:
    return " ".join(text.split()).replace("*", "\\*")


def _tex(text: str) -> str:
    return "".join(_TEX.get(letter, letter) for letter in text)
