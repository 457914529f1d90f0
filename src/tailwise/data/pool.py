"""One split of a data set as it lies on disk or in memory, before a long tail is cut from it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tailwise.core.errors import DataError
from tailwise.data.rgb import load_rgb, upright_size


def printable(name: str) -> str:
    """A file name for people and figures: bytes that are not UTF-8 become replacement characters."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


@dataclass(frozen=True, eq=False)
class Pool:
    """One split of a data set, on disk (``root`` and ``paths``) or in memory (``array``).

    Args:
        source: The data set's name, or the folder's.
        split: ``"train"``, ``"val"`` or ``"test"``.
        class_names: One name per label.
        labels: Shape ``[N]``, 0 to C - 1.
        paths: N file names relative to ``root``, with forward slashes.
        root: The folder that ``paths`` start from.
        array: Shape ``[N, H, W]`` (grey) or ``[N, H, W, 3]`` (RGB).

    Raises:
        DataError: Neither or both of ``paths`` and ``array``, lengths that differ, or a label without a class name.
    """

    source: str
    split: str
    class_names: tuple[str, ...]
    labels: NDArray[np.int64]
    paths: tuple[str, ...] | None = None
    root: Path | None = None
    array: NDArray[np.uint8] | None = None

    def __post_init__(self) -> None:
        if (self.paths is None) == (self.array is None) or (self.paths is not None and self.root is None):
            raise DataError(f"{self.source}: a pool holds either paths with a root folder or an array")
        images = len(self.paths) if self.paths is not None else len(self.array if self.array is not None else ())
        if self.labels.shape != (images,):
            raise DataError(f"{self.source}: {images} images but labels of shape {self.labels.shape}")
        if images and not 0 <= self.labels.min() <= self.labels.max() < len(self.class_names):
            given = f"{self.labels.min()} to {self.labels.max()}"
            raise DataError(f"{self.source}: labels {given} for {len(self.class_names)} class names")

    def __len__(self) -> int:
        return int(self.labels.size)

    @property
    def num_classes(self) -> int:
        """Number of classes ``C``."""
        return len(self.class_names)

    @property
    def counts(self) -> NDArray[np.int64]:
        """Images per class, shape ``[C]``; 0 is possible here."""
        return np.bincount(self.labels, minlength=self.num_classes).astype(np.int64)

    def name_of(self, i: int) -> str:
        """The relative path of an image, or ``"source/split#i"`` of one in memory."""
        return printable(self.paths[i]) if self.paths is not None else f"{self.source}/{self.split}#{i}"

    def path_of(self, i: int) -> Path | None:
        """Where an image lies on disk; ``None`` for one in memory."""
        return None if self.paths is None or self.root is None else self.root / self.paths[i]

    def read(self, i: int, *, at_least: int | None = None) -> Image.Image:
        """One image, upright, 8-bit RGB; see :func:`tailwise.data.rgb.load_rgb`.

        Raises:
            UnreadableImage: The file is missing, damaged or not an image.
        """
        path = self.path_of(i)
        if path is not None:
            return load_rgb(path, self.name_of(i), at_least=at_least)
        assert self.array is not None
        return Image.fromarray(self.array[i]).convert("RGB")

    def size_of(self, i: int) -> tuple[int, int]:
        """Width and height of one upright image in pixels, without decoding it.

        Raises:
            UnreadableImage: The file is missing or not an image.
        """
        path = self.path_of(i)
        if path is not None:
            return upright_size(path, self.name_of(i))
        assert self.array is not None
        return int(self.array.shape[2]), int(self.array.shape[1])


def pool_checksum(pool: Pool) -> str:
    """SHA-256 of what a pool consists of: class names, labels, and relative paths or the images in memory.

    The root folder and the source's name do not enter, so a data set may be moved or renamed. The content of image
    files does not enter either: reading a million files to start a run would take longer than it is worth.
    """
    digest = hashlib.sha256(json.dumps(list(pool.class_names)).encode())
    digest.update(np.ascontiguousarray(pool.labels, dtype="<i8").tobytes())
    if pool.paths is not None:
        digest.update("\0".join(pool.paths).encode(errors="surrogateescape"))
    if pool.array is not None:
        digest.update(str(pool.array.shape).encode())
        digest.update(np.ascontiguousarray(pool.array).data)
    return digest.hexdigest()
