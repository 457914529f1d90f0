"""The marked code blocks of a Markdown page, and running them."""

from __future__ import annotations

import io
import re
import shlex
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tailwise.cli import main

_BLOCK = re.compile(r"^<!-- (?P<mark>[^>]+?) -->\n```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block below a comment such as `<!-- runnable -->` or `<!-- runnable: exit 2 -->`."""

    mark: str
    language: str
    text: str

    @property
    def status(self) -> int:
        """The exit status that each command of the block must have."""
        return int(self.mark.partition("exit ")[2] or 0)


def blocks(page: Path) -> list[Block]:
    """Every marked block of a page, in order."""
    found = _BLOCK.finditer(page.read_text(encoding="utf-8"))
    return [Block(match["mark"], match["language"], match["text"]) for match in found]


def run(found: list[Block]) -> None:
    """Runs the blocks of a page one after the other in the current folder; Python blocks share their names."""
    names: dict[str, Any] = {"__name__": "docs"}
    for block in found:
        if block.language == "python":
            with redirect_stdout(io.StringIO()):
                exec(compile(block.text, "<docs>", "exec"), names)
        else:
            _commands(block, main)


def _commands(block: Block, command: Callable[[list[str]], int]) -> None:
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        line, *expected = part.splitlines()
        program, *arguments = shlex.split(line)
        assert program == "tailwise", f"only tailwise commands can be run here: {line}"
        output = io.StringIO()
        with redirect_stdout(output), redirect_stderr(output):
            try:
                status = command(arguments)
            except SystemExit as stop:
                status = int(stop.code or 0)
        said = " ".join(output.getvalue().split())
        assert status == block.status, f"{line}: exit status {status}, expected {block.status}: {said}"
        for wanted in expected:
            assert " ".join(wanted.split()) in said, f"{line}: expected {wanted!r}, got {said!r}"
