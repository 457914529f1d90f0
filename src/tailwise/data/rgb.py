"""From an image file to an 8-bit RGB picture, whatever mode it was stored in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from tailwise.core.errors import DataError

#: What shows through transparent pixels. Mid-grey erases neither a black nor a white drawing, as black or white would.
BACKGROUND = (128, 128, 128)


class UnreadableImage(DataError):
    """One image file that cannot be decoded.

    Args:
        name: The file as the data set names it.
        reason: What is wrong with it, without the file's name.
    """

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: cannot be read as an image: {reason}")
        self.name = name
        self.reason = reason

    def __reduce__(self) -> tuple[type[UnreadableImage], tuple[str, str]]:
        """Both arguments travel between processes."""
        return UnreadableImage, (self.name, self.reason)


def load_rgb(path: Path, name: str, *, at_least: int | None = None) -> Image.Image:
    """Decodes one file completely, turned upright by its EXIF orientation, as RGB.

    Args:
        path: The file.
        name: How messages call it.
        at_least: A JPEG may be decoded at a half, quarter or eighth of its size as long as both sides keep twice this
            many pixels (what Pillow's ``thumbnail`` does). ``None`` decodes at full size.

    Raises:
        UnreadableImage: No such file, not an image, truncated, damaged, or more pixels than Pillow thinks safe.
    """
    try:
        with Image.open(path) as image:
            if at_least is not None:
                image.draft(None, (2 * at_least, 2 * at_least))
            ImageOps.exif_transpose(image, in_place=True)
            return to_rgb(image)
    except Exception as error:  # a damaged file can make a decoder fail in any way
        raise UnreadableImage(name, _reason(path, error)) from error


def upright_size(path: Path, name: str) -> tuple[int, int]:
    """Width and height in pixels after EXIF rotation, from the file's header alone.

    Raises:
        UnreadableImage: As :func:`load_rgb`, but damage behind the header goes unnoticed.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            sideways = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
            return (height, width) if sideways else (width, height)
    except Exception as error:
        raise UnreadableImage(name, _reason(path, error)) from error


def to_rgb(image: Image.Image) -> Image.Image:
    """8-bit RGB of an image of any mode.

    Palette, grey, CMYK and YCbCr images are converted by Pillow. Transparent pixels show :data:`BACKGROUND`. Grey
    images of 16 bits are scaled from 0..65535 to 0..255, so that nothing is clipped; 32-bit whole numbers are read
    as 16-bit ones, and floating-point images as 0..1 if no value exceeds 1 and as 0..255 otherwise.
    """
    if image.mode == "RGB":
        image.load()
        return image.copy()
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(_eight_bits(image)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        with_alpha = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, (*BACKGROUND, 255))
        return Image.alpha_composite(ground, with_alpha).convert("RGB")
    return image.convert("RGB")


def _eight_bits(image: Image.Image) -> Any:
    values = np.nan_to_num(np.asarray(image, dtype=np.float64), nan=0.0)
    scale = (255.0 if values.max(initial=0.0) <= 1 else 1.0) if image.mode == "F" else 255.0 / 65535.0
    return np.rint(np.clip(values * scale, 0, 255)).astype(np.uint8)


def _reason(path: Path, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, IsADirectoryError):
        return "a folder, not a file"
    if isinstance(error, PermissionError):
        return "no permission to read it"
    if isinstance(error, UnidentifiedImageError):
        return "an empty file" if path.stat().st_size == 0 else "not an image in any format that Pillow knows"
    return " ".join(str(error).split()) or type(error).__name__
