"""Any images, one batch after the other, as the evaluation of a run sees its own; what cannot be read is told."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from tailwise.core.errors import DataError
from tailwise.data.folder import EXTENSIONS
from tailwise.data.images import cut_square
from tailwise.data.pack_ahead import in_order
from tailwise.data.pool import printable
from tailwise.data.rgb import UnreadableImage, load_rgb, to_rgb

#: A path, a Pillow image, or uint8 ``[H,W]`` grey or ``[H,W,3]`` RGB.
ImageLike = str | Path | Image.Image | NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Square:
    """One image as the network takes it.

    Attributes:
        name: Its path, or its number among the given ones.
        pixels: uint8 ``[3,size,size]``; None when it cannot be read.
        error: Why it cannot be read.
    """

    name: str
    pixels: NDArray[np.uint8] | None
    error: str | None = None


def find_images(paths: Iterable[str | Path]) -> list[Path]:
    """Files as they are, and the images in folders and below them, sorted by path within each folder.

    Hidden files and folders are left out, and a folder that a link leads back to is entered once.

    Raises:
        DataError: A path that does not exist, or a folder without images.
    """
    found: list[Path] = []
    for given in paths:
        path = Path(given).expanduser()
        if not path.is_dir():
            if not path.exists():
                raise DataError(f"no such image or folder: {printable(str(path))}")
            found.append(path)
            continue
        below = sorted(_images_in(path))
        if not below:
            raise DataError(
                f"no images in the folder {printable(str(path))}; known extensions: {', '.join(EXTENSIONS)}"
            )
        found += below
    return found


def squares(images: Sequence[ImageLike], size: int, zoom: float, *, workers: int, ahead: int) -> Iterator[Square]:
    """The images in order, cut and scaled as :func:`tailwise.data.images.decode` does it.

    Args:
        images: Paths, Pillow images or arrays.
        size: Side in pixels.
        zoom: How much larger than ``size`` the short side is made before the centre is cut out.
        workers: Threads.
        ahead: Most images that are decoded before they are asked for; so memory does not grow with their number.
    """

    def read(number: int) -> Square:
        return _square(images[number], number, size, zoom)

    return in_order(read, range(len(images)), workers=workers, ahead=ahead)


def _square(image: ImageLike, number: int, size: int, zoom: float) -> Square:
    name = printable(str(image)) if isinstance(image, str | Path) else f"#{number}"
    try:
        square = cut_square(_rgb(image, name, round(size * zoom)), size, zoom)
    except UnreadableImage as error:
        return Square(name, None, error.reason)
    return Square(name, np.array(np.asarray(square, dtype=np.uint8).transpose(2, 0, 1), order="C"))


def _rgb(image: Any, name: str, at_least: int) -> Image.Image:
    if isinstance(image, str | Path):
        return load_rgb(Path(image), name, at_least=at_least)
    if isinstance(image, Image.Image):
        try:
            return to_rgb(ImageOps.exif_transpose(image))
        except Exception as error:  # a lazily opened file can fail in any way
            raise UnreadableImage(name, " ".join(str(error).split()) or type(error).__name__) from error
    if not isinstance(image, np.ndarray):
        raise DataError(f"image {name}: expected a path, a Pillow image or a uint8 array, got {type(image).__name__}")
    if image.dtype != np.uint8 or not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)) or not image.size:
        raise DataError(
            f"image {name}: an array must be uint8 [H, W] or [H, W, 3], got {image.dtype} {list(image.shape)}"
        )
    return Image.fromarray(image).convert("RGB")


def _images_in(folder: Path) -> Iterator[Path]:
    entered: set[str] = set()
    for at, subfolders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(at)
        if real in entered:
            subfolders.clear()
            continue
        entered.add(real)
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in files:
            if name.lower().endswith(EXTENSIONS) and not name.startswith("."):
                yield Path(at) / name
