"""Where numbers go while a run trains: JSON lines always, TensorBoard when asked for."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tailwise.core.errors import RunError
from tailwise.engine.checkpoint import write_error


class JsonLines:
    """``metrics.jsonl``: one record a line, flushed at once.

    Args:
        path: The file.
        keep: Number of lines that stay when a run goes on from a checkpoint; later ones are written anew.
    """

    def __init__(self, path: Path, keep: int = 0) -> None:
        self.path, self.lines = path, keep
        try:
            old = path.read_text().splitlines(keepends=True)[:keep] if path.exists() else []
            temporary = path.with_name(path.name + ".tmp")
            temporary.write_text("".join(old))
            os.replace(temporary, path)
        except OSError as error:
            raise write_error(error, path.parent) from error

    def write(self, record: Mapping[str, Any]) -> None:
        """Appends a record.

        Raises:
            RunError: The folder cannot be written.
        """
        try:
            with self.path.open("a") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:
            raise write_error(error, self.path.parent) from error
        self.lines += 1


class TensorBoard:
    """Scalars for TensorBoard in ``<run>/tensorboard``.

    Raises:
        RunError: The extra is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            module = importlib.import_module("torch.utils.tensorboard")
        except ImportError as error:
            raise RunError(
                "TensorBoard is not installed; `pip install tailwise[tensorboard]`, or leave out --tensorboard"
            ) from error
        self.writer = module.SummaryWriter(str(folder / "tensorboard"))

    def write(self, record: Mapping[str, Any]) -> None:
        """Every number of a record, nested ones with their path."""
        for name, value in _numbers(record):
            self.writer.add_scalar(f"{record['event']}/{name}", value, record["step"])
        self.writer.flush()


def _numbers(record: Mapping[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    for name, value in record.items():
        if isinstance(value, Mapping):
            found += _numbers(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and not isinstance(value, bool) and name not in ("step", "stage"):
            found.append((f"{prefix}{name}", float(value)))
    return found
