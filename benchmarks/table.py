"""A table of figures for a terminal and for a page of the documentation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.table import Table as RichTable


@dataclass
class Table:
    """Rows of text under columns.

    Attributes:
        title: What is measured.
        columns: The first one names the rows.
        rows: As many fields as columns.
    """

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]] = field(default_factory=list)

    def add(self, *fields: str) -> None:
        """Appends a row.

        Raises:
            ValueError: Not one field for every column.
        """
        if len(fields) != len(self.columns):
            raise ValueError(f"{len(fields)} fields for {len(self.columns)} columns")
        self.rows.append(fields)

    def to_rich(self) -> RichTable:
        """For a terminal."""
        table = RichTable(title=self.title)
        for number, column in enumerate(self.columns):
            table.add_column(column, justify="right" if number else "left", no_wrap=not number)
        for row in self.rows:
            table.add_row(*row)
        return table

    def to_markdown(self, notes: Sequence[str] = ()) -> str:
        """For a page, with lines of notes below."""
        lines = [self.title, ""]
        lines += ["| " + " | ".join(self.columns) + " |", "|---" + "|---:" * (len(self.columns) - 1) + "|"]
        lines += ["| " + " | ".join(row) + " |" for row in self.rows]
        return "\n".join([*lines, "", *(f"{note}  " for note in notes), ""])
