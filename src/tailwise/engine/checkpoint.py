"""One checkpoint format: weights as safetensors, training state for weights-only loading, complete or absent.

A checkpoint is a folder ``checkpoints/step-00000300`` that is written under another name and renamed when it is whole,
so a kill at any moment leaves the one before. Its files have checksums, which are compared before anything is read.
Loading never runs code from the file.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import pickle
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from tailwise.core.errors import RunError

FORMAT = 2
FILES = ("model.safetensors", "state.pt")
#: Checkpoints that are kept: the newest, and the one before in case the disk damages it.
KEPT = 2


def write_error(error: Exception, folder: Path) -> RunError:
    """The message for a folder that cannot be written or a disk that is full.

    safetensors and torch report a failed write by classes of their own, with the system's number in the text.
    """
    if not isinstance(error, OSError):
        number = re.search(r"(?:os error|code:) (\d+)", str(error))
        error = OSError(int(number[1]), os.strerror(int(number[1]))) if number else OSError(str(error))
    reason = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else (error.strerror or str(error))
    return RunError(
        f"cannot write to {folder}: {reason}; choose another place with --out. Nothing written so far is lost"
    )


def save_weights(path: Path, weights: Mapping[str, Tensor], note: Mapping[str, str]) -> None:
    """Writes a safetensors file at once or not at all.

    Raises:
        RunError: The folder cannot be written.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        save_file({name: value.detach().cpu().contiguous() for name, value in weights.items()}, temporary, dict(note))
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        temporary.unlink(missing_ok=True)
        raise write_error(error, path.parent) from error


def load_weights(path: Path) -> dict[str, Tensor]:
    """Reads a safetensors file.

    Raises:
        RunError: Absent, or not a complete safetensors file.
    """
    if not path.is_file():
        raise RunError(f"no weights at {path}")
    try:
        return load_file(path)
    except Exception as error:  # the library raises a class of its own for damaged files
        raise RunError(f"{path} is not a complete safetensors file ({error})") from error


def not_finite(weights: Mapping[str, Tensor]) -> str | None:
    """The name of the first tensor with an infinite or undefined value, or None."""
    floating = {name: value for name, value in weights.items() if value.is_floating_point()}
    flags = torch.stack([value.isfinite().all() for value in floating.values()]).tolist()
    return next((name for name, fine in zip(floating, flags, strict=True) if not fine), None)


class Checkpoints:
    """The checkpoints of one run; the newest and the one before are kept.

    Args:
        folder: The run's folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "checkpoints"

    def newest(self) -> Path | None:
        """The newest complete checkpoint, or None."""
        found = self._all()
        return found[-1] if found else None

    def _all(self) -> list[Path]:
        return sorted(self.folder.glob("step-*")) if self.folder.is_dir() else []

    def save(self, step: int, weights: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Writes a checkpoint and then removes those before the last one.

        Args:
            step: Steps done in the whole run.
            weights: Everything in the model's state dict, plus averaged weights under the prefix ``ema.``.
            state: Tensors, numbers, strings and containers of them.

        Raises:
            RunError: The folder cannot be written; the checkpoint before stays.
        """
        target = self.folder / f"step-{step:09d}"
        temporary = self.folder / f".writing-{step:09d}"
        try:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
            plain = {name: value.detach().cpu().contiguous().clone() for name, value in weights.items()}
            save_file(plain, temporary / "model.safetensors")
            torch.save({"format": FORMAT, **state}, temporary / "state.pt")
            sums: dict[str, str] = {}
            for name in FILES:
                with (temporary / name).open("rb") as file:
                    sums[name] = hashlib.file_digest(file, "sha256").hexdigest()
                    os.fsync(file.fileno())
            (temporary / "checksums.json").write_text(json.dumps(sums))
            shutil.rmtree(target, ignore_errors=True)
            os.replace(temporary, target)
            for old in [path for path in self._all() if path < target][: 1 - KEPT]:
                shutil.rmtree(old, ignore_errors=True)
            for newer in [path for path in self._all() if path > target]:
                shutil.rmtree(newer, ignore_errors=True)
        except (OSError, RuntimeError, SafetensorError) as error:
            shutil.rmtree(temporary, ignore_errors=True)
            raise write_error(error, self.folder.parent) from error

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Weights and state of the newest checkpoint, or None when there is none.

        Raises:
            RunError: It is damaged or of another format.
        """
        path = self.newest()
        if path is None:
            return None
        try:
            self._compare(path)
            weights = load_weights(path / "model.safetensors")
            state = torch.load(path / "state.pt", map_location="cpu", weights_only=True)
        except (OSError, ValueError, RuntimeError, EOFError, pickle.UnpicklingError, RunError) as error:
            before = [other for other in self._all() if other < path]
            then = f"to go on from the one before, {before[-1].name}" if before else "to start anew"
            raise RunError(f"the checkpoint {path} is damaged ({error}); delete it {then}") from error
        if state.get("format") != FORMAT:
            raise RunError(f"{path} has format {state.get('format')}; this version reads {FORMAT}")
        return weights, state

    @staticmethod
    def _compare(path: Path) -> None:
        """Refuses files whose content is not what was written; checkpoints of earlier versions have no checksums."""
        file = path / "checksums.json"
        if not file.exists():
            return
        for name, expected in json.loads(file.read_text()).items():
            with (path / name).open("rb") as content:
                if hashlib.file_digest(content, "sha256").hexdigest() != expected:
                    raise RunError(f"{name} is not what was written")
