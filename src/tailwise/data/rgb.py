"""From an image file to an 8-bit RGB picture, whatever mode it was stored in."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from tailwise.core.errors import DataError
from tailwise.data.jpeg import fast_jpeg, plain_size

#: Top, left, height and width in pixels.
Box = tuple[int, int, int, int]

#: What shows through transparent pixels. Mid-grey erases neither a black nor a white drawing, as black or white would.
BACKGROUND = (128, 128, 128)
#: EXIF tag of the orientation.
_ORIENTATION = 0x0112


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


class OpenedFile:
    """An image file whose header is read and whose pixels are decoded when they are asked for.

    Args:
        path: The file.
        name: How messages call it.

    Attributes:
        size: Width and height in pixels after EXIF rotation.

    Raises:
        UnreadableImage: No such file, not an image, or more pixels than Pillow thinks safe.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name = path, name
        try:
            with path.open("rb", buffering=0) as file:
                self._bytes = file.read()
            plain = plain_size(self._bytes)
            self._ordinary = plain is not None and plain[0] * plain[1] <= (Image.MAX_IMAGE_PIXELS or math.inf)
            if plain is not None and self._ordinary:
                self.size = plain
                return
            with Image.open(io.BytesIO(self._bytes)) as image:
                orientation = image.getexif().get(_ORIENTATION, 1)
                self.size = _upright(image, orientation)
                self._ordinary = image.format == "JPEG" and image.mode in ("RGB", "L") and orientation == 1
        except Exception as error:  # a damaged file can make a decoder fail in any way
            raise UnreadableImage(name, _reason(path, error)) from error

    def cut(self, box: Box, at_least: int) -> NDArray[np.uint8]:
        """A part of the upright image as RGB ``[h,w,3]``.

        Args:
            box: Top, left, height and width in pixels of the full-size image.
            at_least: A JPEG is decoded at a half, quarter or eighth of its size if both sides of the box then still
                have this many pixels. The corners of the box are rounded to whole pixels of the smaller image.

        Raises:
            UnreadableImage: Truncated, damaged, or of a kind that cannot become RGB.
        """
        top, left, tall, wide = box
        shrink = largest_shrink(min(tall, wide), at_least)
        pixels = fast_jpeg(self._bytes) if self._ordinary and shrink == 1 else None
        if pixels is not None:
            return pixels[top : top + tall, left : left + wide]
        image = self.picture(shrink)
        corners = [left, top, left + wide, top + tall]
        if image.size != self.size:
            corners = [(corner + shrink // 2) // shrink for corner in corners]
        return np.array(image.crop((corners[0], corners[1], corners[2], corners[3])))

    def picture(self, shrink: int = 1) -> Image.Image:
        """The whole upright image, RGB, decoded by Pillow.

        Args:
            shrink: 1, 2, 4 or 8. A JPEG is decoded at this part of its size, sides rounded up; others at full size.

        Raises:
            UnreadableImage: Truncated, damaged, or of a kind that cannot become RGB.
        """
        try:
            with Image.open(io.BytesIO(self._bytes)) as image:
                if shrink > 1:
                    image.draft(None, (image.width // shrink, image.height // shrink))
                ImageOps.exif_transpose(image, in_place=True)
                return to_rgb(image)
        except Exception as error:  # as above
            raise UnreadableImage(self.name, _reason(self.path, error)) from error


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
    file = OpenedFile(path, name)
    return file.picture(1 if at_least is None else largest_shrink(min(file.size), 2 * at_least))


def largest_shrink(side: int, least: int) -> int:
    """The largest of 8, 4, 2 and 1 by which a side may be divided and keep ``least`` pixels; 1 when none does."""
    return next((part for part in (8, 4, 2) if side // part >= least), 1)


def upright_size(path: Path, name: str) -> tuple[int, int]:
    """Width and height in pixels after EXIF rotation, from the file's header alone.

    Raises:
        UnreadableImage: As :func:`load_rgb`, but damage behind the header goes unnoticed.
    """
    try:
        with Image.open(path) as image:
            return _upright(image, image.getexif().get(_ORIENTATION, 1))
    except Exception as error:
        raise UnreadableImage(name, _reason(path, error)) from error


def _upright(image: Image.Image, orientation: int) -> tuple[int, int]:
    width, height = image.size
    return (height, width) if orientation in (5, 6, 7, 8) else (width, height)


def to_rgb(image: Image.Image) -> Image.Image:
    """8-bit RGB of an image of any mode.

    Palette, grey, CMYK and YCbCr images are converted by Pillow. Transparent pixels show :data:`BACKGROUND`. Grey
    images of 16 bits are scaled from 0..65535 to 0..255, so that nothing is clipped; 32-bit whole numbers are read
    as 16-bit ones, and floating-point images as 0..1 if no value exceeds 1 and as 0..255 otherwise.
    """
    if image.mode == "RGB":
        image.load()
        return image
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
