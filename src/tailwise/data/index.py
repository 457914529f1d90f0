"""The training subset that is used: positions in a pool, with a checksum, saved as one small file."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tailwise.core.errors import DataError
from tailwise.core.stats import ClassStats
from tailwise.data.pool import Pool, pool_checksum
from tailwise.data.rgb import UnreadableImage

__all__ = ["LongTailIndex", "Pool", "UnreadableImage", "pool_checksum"]

_FORMAT = "tailwise-index-1"


@dataclass(frozen=True, eq=False)
class LongTailIndex:
    """The training images that are used, as positions in a pool.

    Args:
        positions: Shape ``[n]``; in class order and then in the order of selection when a tail was cut.
        labels: Shape ``[n]``.
        class_names: One name per label.
        source: The pool's source.
        pool_checksum: :func:`pool_checksum` of the pool.
    """

    positions: NDArray[np.int64]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    source: str
    pool_checksum: str

    @classmethod
    def of(cls, pool: Pool, positions: NDArray[np.int64]) -> LongTailIndex:
        """The index that uses these positions of a pool."""
        return cls(positions, pool.labels[positions], pool.class_names, pool.source, pool_checksum(pool))

    def __len__(self) -> int:
        return int(self.positions.size)

    @property
    def counts(self) -> NDArray[np.int64]:
        """Training images per class ``n_c``, shape ``[C]``."""
        return np.bincount(self.labels, minlength=len(self.class_names)).astype(np.int64)

    @property
    def stats(self) -> ClassStats:
        """The class counts as everything else sees them.

        Raises:
            DataError: Fewer than two classes, or a class without images.
        """
        return ClassStats(self.counts)

    @cached_property
    def checksum(self) -> str:
        """SHA-256 over the pool's checksum, the positions and the labels."""
        return _digest(self.pool_checksum, self.positions, self.labels)

    def drop(self, bad_positions: Iterable[int]) -> LongTailIndex:
        """The index without some pool positions; positions that it does not use are ignored.

        Raises:
            DataError: A class would be left without images.
        """
        keep = ~np.isin(self.positions, np.fromiter(bad_positions, dtype=np.int64))
        left = np.bincount(self.labels[keep], minlength=len(self.class_names))
        emptied = np.flatnonzero((left == 0) & (self.counts > 0))
        if emptied.size:
            names = ", ".join(repr(self.class_names[label]) for label in emptied[:10])
            raise DataError(f"no usable training image is left in {emptied.size} classes: {names}")
        return LongTailIndex(self.positions[keep], self.labels[keep], self.class_names, self.source, self.pool_checksum)

    def save(self, path: Path) -> None:
        """Writes a small JSON file that :meth:`load` verifies; an existing file is replaced at once or not at all.

        Raises:
            DataError: The file cannot be written.
        """
        content = {
            "format": _FORMAT,
            "source": self.source,
            "pool_checksum": self.pool_checksum,
            "checksum": self.checksum,
            "positions": self.positions.tolist(),
            "labels": self.labels.tolist(),
        }
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_text(json.dumps(content) + "\n")
            partial.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                partial.unlink()
            raise DataError(f"cannot write the subset file {path}: {error.strerror or error}") from error

    @classmethod
    def load(cls, path: Path, pool: Pool) -> LongTailIndex:
        """Reads what :meth:`save` wrote.

        Raises:
            DataError: No such file, not a subset file, damaged, or made from another pool.
        """
        try:
            content: Any = json.loads(path.read_text())
        except FileNotFoundError:
            raise DataError(f"no subset file {path}") from None
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: not a subset file (no valid JSON): {error}") from error
        if not isinstance(content, dict) or content.get("format") != _FORMAT:
            raise DataError(f"{path}: not a subset file; expected the format {_FORMAT!r}")
        try:
            positions = np.array(content["positions"], dtype=np.int64).reshape(-1)
            labels = np.array(content["labels"], dtype=np.int64).reshape(-1)
            found, expected = _digest(str(content["pool_checksum"]), positions, labels), content["checksum"]
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise DataError(f"{path}: damaged subset file ({type(error).__name__}: {error})") from error
        if found != expected:
            raise DataError(f"{path}: damaged subset file; its checksum says {expected}, its content {found}")
        if content["pool_checksum"] != pool_checksum(pool):
            raise DataError(
                f"{path}: made from other images than these: it was cut from {content.get('source')!r}, and the class "
                f"names, labels or files of {pool.source!r} ({len(pool)} images, {pool.num_classes} classes) differ"
            )
        inside = positions.size == 0 or 0 <= positions.min() <= positions.max() < len(pool)
        if not inside or not np.array_equal(pool.labels[positions], labels):
            raise DataError(f"{path}: damaged subset file; its labels are not those of {pool.source!r}")
        return cls(positions, labels, pool.class_names, pool.source, str(content["pool_checksum"]))


def _digest(of_pool: str, positions: NDArray[np.int64], labels: NDArray[np.int64]) -> str:
    digest = hashlib.sha256(of_pool.encode())
    digest.update(np.ascontiguousarray(positions, dtype="<i8").tobytes())
    digest.update(np.ascontiguousarray(labels, dtype="<i8").tobytes())
    return digest.hexdigest()
