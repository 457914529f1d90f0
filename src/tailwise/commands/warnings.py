"""Warnings before a training begins: combinations of tricks that a paper found to hurt."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.markup import escape

from tailwise.engine.progress import is_main_process
from tailwise.engine.recipe import Recipe
from tailwise.recipes.conflicts import conflicts

#: Where the advice with all of its numbers stands.
GUIDE = "docs/guide/which-tricks.md"


def warn(recipes: Iterable[Recipe]) -> None:
    """Prints every conflict of every recipe to the error stream, on the first process only."""
    if not is_main_process():
        return
    lines = [f"warning: {recipe.name}: {conflict}" for recipe in recipes for conflict in conflicts(recipe)]
    console = Console(stderr=True)
    for line in dict.fromkeys(lines):
        console.print(f"[yellow]{escape(line)}[/]", highlight=False, soft_wrap=True)
    if lines:
        console.print(f"[yellow]Tables of zhang2021bag, not measured here; see {GUIDE}.[/]", highlight=False)
