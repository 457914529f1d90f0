"""The ledger: a file for each finished run, found by recipe hash and seed, merged by copying, never overwritten."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tailwise.core.errors import RunError, TailwiseError
from tailwise.core.spec import to_plain
from tailwise.engine.recipe import Recipe
from tailwise.engine.run_folder import write_file
from tailwise.report.ledger import Result

#: Hexadecimal digits of the content's checksum in a file's name.
DIGITS = 12


@dataclass(frozen=True)
class Entries:
    """What a ledger holds.

    Attributes:
        results: Every readable entry, in the order of dates and then of names.
        damaged: A line for each file that could not be used: its path and what is wrong.
    """

    results: tuple[Result, ...]
    damaged: tuple[str, ...] = ()

    def of(self, recipe: Recipe, *, fingerprint: str | None, location: str | None = None) -> list[Result]:
        """The results of one recipe, one for each seed: the first that was written.

        Results of another version of the recipe or of other images have another hash and are never among them.

        Args:
            recipe: With or without the fingerprint of its data.
            fingerprint: That of the images, where they could be looked at. Without it, or when images were left out
                as unreadable, results of one and the same fingerprint count: the one with the most seeds.
            location: For a user's own images, which a recipe's hash alone does not tell apart: where they lie.
        """
        plan = plan_hash(recipe)
        found: dict[str, dict[int, Result]] = {}
        for result in self.results:
            data = result.data
            here = location is None or data.get("fingerprint") == fingerprint or data.get("location") == location
            if result.record.get("plan_hash") == plan and here:
                found.setdefault(str(data.get("fingerprint")), {}).setdefault(result.seed, result)
        if not found:
            return []
        known = found.get(str(fingerprint))
        chosen = known if known is not None else max(found.values(), key=len)
        return [chosen[seed] for seed in sorted(chosen)]

    def other_versions(self, recipe: Recipe) -> int:
        """How many results bear the recipe's name on data of its name, and are of another version of it."""
        plan = plan_hash(recipe)
        return sum(
            result.recipe == recipe.name
            and result.data.get("name") == recipe.data.name
            and result.record.get("imbalance_wanted") == recipe.data.imbalance_factor
            and result.record.get("plan_hash") != plan
            for result in self.results
        )


class Ledger:
    """A folder of results, ``<recipe hash>/seed<seed>-<checksum>.json``.

    A file's name holds the checksum of its content, so two ledgers merge by copying one over the other: equal names are
    equal contents. Several results of one recipe and seed may lie beside each other; the oldest counts.

    Args:
        folder: Need not exist.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self) -> Entries:
        """Everything that can be read; damaged files are named and stay."""
        results: list[Result] = []
        damaged: list[str] = []
        for file in sorted(self.folder.rglob("*.json")) if self.folder.is_dir() else []:
            try:
                results.append(_read(file))
            except (TailwiseError, OSError) as error:
                damaged.append(str(error) if str(file) in str(error) else f"{file}: {error}")
        results.sort(key=lambda result: str(result.record.get("date", "")))
        return Entries(tuple(results), tuple(damaged))

    def add(self, result: Result, recipe: Recipe) -> Path:
        """Writes an entry for a finished run, unless the very same is there.

        Args:
            result: Of the run.
            recipe: What was asked for; recorded whole.

        Returns:
            The entry's file.

        Raises:
            RunError: The folder cannot be written.
        """
        content: Mapping[str, Any] = {
            **result.record,
            "plan_hash": plan_hash(recipe),
            "imbalance_wanted": recipe.data.imbalance_factor,
            "spec": to_plain(recipe),
        }
        fields = ",\n".join(f" {json.dumps(key)}: {json.dumps(value)}" for key, value in content.items())
        text = f"{{\n{fields}\n}}\n"
        digest = hashlib.sha256(text.encode()).hexdigest()[:DIGITS]
        file = self.folder / result.recipe_hash / f"seed{result.seed}-{digest}.json"
        # The same name with another content is a damaged copy of this very entry.
        if not file.exists() or file.read_bytes() != text.encode():
            write_file(file, text)
        return file


def plan_hash(recipe: Recipe) -> str:
    """The recipe's hash without the checksum of its images: what it is before they have been looked at."""
    return _without_images(recipe).hash


def result_hash(recipe: Recipe, fingerprint: str | None) -> str:
    """The hash of the results that a recipe has on images with that checksum."""
    return dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, fingerprint=fingerprint)).hash


def _without_images(recipe: Recipe) -> Recipe:
    return dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, fingerprint=None, pixels=None))


def _read(file: Path) -> Result:
    data = file.read_bytes()
    named = re.fullmatch(rf"seed\d+-([0-9a-f]{{{DIGITS}}})", file.stem)
    if named is None:
        raise RunError(f"{file}: not the name of a ledger's file (seed<number>-<checksum>.json)")
    if hashlib.sha256(data).hexdigest()[:DIGITS] != named[1]:
        raise RunError(f"{file}: damaged, its content is not what was written")
    return Result.from_record(file.parent, json.loads(data), file)
