"""A run's folder: who may write into it, and what it holds.

``recipe.yaml`` · ``index.json`` (the long-tailed subset) · ``metrics.jsonl`` · ``result.json`` ·
``model.safetensors`` · ``checkpoints/`` · ``report.html``
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tailwise.core.errors import RunError
from tailwise.core.spec import differences, from_yaml, to_yaml
from tailwise.engine.checkpoint import Checkpoints, write_error
from tailwise.engine.recipe import Recipe

#: Says which stages of a run were trained in the folder of another one.
SHARED = "shared-stages.json"


def default_folder(recipe: Recipe, base: Path) -> Path:
    """``<base>/<data>/<recipe>-<hash>/seed<seed>``."""
    name = recipe.data.name
    if recipe.data.location is not None:
        name = Path(recipe.data.location).resolve().stem
    return base / name / f"{recipe.name}-{recipe.hash}" / f"seed{recipe.seed}"


def read_recipe(path: Path) -> Recipe:
    """The recipe in a file.

    Raises:
        RunError: No such file.
        SpecError: Not a complete, well-typed recipe.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"cannot read the recipe file {path}: {error}") from error
    return from_yaml(Recipe, text, f"{path}: ")


def write_file(path: Path, text: str) -> None:
    """Writes a text file at once or not at all.

    Raises:
        RunError: The folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text)
        os.replace(temporary, path)
    except OSError as error:
        raise write_error(error, path.parent) from error


class RunFolder:
    """One run's folder, locked for this process while it is in use.

    Args:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: Any = None

    @property
    def finished(self) -> bool:
        """Whether a complete result lies there."""
        return self.result() is not None

    def result(self) -> dict[str, Any] | None:
        """The result of a finished run, or None."""
        result = self.read_json("result.json")
        return result if result is not None and result.get("finished") else None

    def read_json(self, name: str) -> dict[str, Any] | None:
        """The fields in a file, or None when it is absent or damaged."""
        try:
            content = json.loads((self.path / name).read_text())
        except (OSError, ValueError):
            return None
        return content if isinstance(content, dict) else None

    def check(self, recipe: Recipe, *, resume: bool) -> None:
        """Refuses a folder that this run must not write into; writes nothing.

        Raises:
            RunError: It holds another recipe's run, another seed's, an unfinished run without ``resume``, or files
                that are no run.
        """
        old = self.path / "recipe.yaml"
        if old.exists():
            self._check_same(recipe, read_recipe(old))
            if not resume and not self.finished and Checkpoints(self.path).newest():
                raise RunError(
                    f"{self.path} holds an unfinished run of this recipe; go on with --resume, or choose another --out"
                )
        elif self.path.is_dir() and any(item.name != ".lock" for item in self.path.iterdir()):
            raise RunError(f"{self.path} is not empty and holds no run; nothing was changed. Choose another --out")

    def claim(self, recipe: Recipe, *, resume: bool) -> None:
        """Takes the folder for this recipe until :meth:`release`.

        Raises:
            RunError: As :meth:`check`; or it cannot be written; or another process trains in it.
        """
        self.check(recipe, resume=resume)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = (self.path / ".lock").open("w")
        except OSError as error:
            raise write_error(error, self.path) from error
        try:
            # A record lock is not inherited: loader workers that outlive a killed run do not keep it.
            fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RunError(f"another process is training in {self.path}; choose another --out") from None
        if not (self.path / "recipe.yaml").exists():
            self.write("recipe.yaml", f"# tailwise recipe {recipe.hash}\n{to_yaml(recipe)}")

    def release(self) -> None:
        """Lets other processes in."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def write(self, name: str, text: str) -> None:
        """Writes a file at once or not at all.

        Raises:
            RunError: The folder cannot be written.
        """
        write_file(self.path / name, text)

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Writes a JSON file at once or not at all, one line for every field at the top."""
        fields = ",\n".join(f" {json.dumps(key)}: {json.dumps(value)}" for key, value in content.items())
        self.write(name, f"{{\n{fields}\n}}\n")

    def _check_same(self, recipe: Recipe, old: Recipe) -> None:
        if old.hash == recipe.hash and old.seed == recipe.seed:
            return
        if old.hash == recipe.hash:
            raise RunError(
                f"{self.path} holds this recipe with seed {old.seed}, not {recipe.seed}; nothing was changed. "
                "Choose another --out"
            )
        hashed = [(path, a, b) for path, a, b in differences(old, recipe) if not path.startswith(("run.", "notes"))]
        shown = "; ".join(f"{path}: {a!r} there, {b!r} now" for path, a, b in hashed[:4])
        raise RunError(
            f"{self.path} holds a run of another recipe ({shown}); nothing was changed. Choose another --out"
        )
