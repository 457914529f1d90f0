"""Made-up photographs as JPEG files: decoding time depends on size, sharpness and quality, not on what is shown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

#: Amplitudes fall with frequency to this power. Photographs have 1 to 1.5; this gives about 1.1 bits for each pixel
#: at quality 75 to 90.
SLOPE = 1.4
#: Standard deviation of brightness and of the two colour differences.
CONTRAST, COLOUR = 55.0, 14.0


def photo(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    """A cloudy colour picture with the spectrum of a photograph."""
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = np.inf
    shape = (3, height, width // 2 + 1)
    phases = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
    planes = np.fft.irfft2(frequency**-SLOPE * phases, (height, width))
    planes /= planes.std(axis=(1, 2), keepdims=True)
    values = 128 + planes * np.array([CONTRAST, COLOUR, COLOUR])[:, None, None]
    pixels = np.clip(values, 0, 255).astype(np.uint8).transpose(1, 2, 0)
    return Image.fromarray(np.ascontiguousarray(pixels), mode="YCbCr").convert("RGB")


def write_photos(folder: Path, images: int, *, side: int = 500, num_classes: int = 4, seed: int = 0) -> int:
    """Writes ``folder/train/<class>/<number>.jpg`` and one image for each class under ``val``.

    Args:
        folder: Where they go.
        images: Of the training split; at least ``num_classes``.
        side: Pixels of the longer side; the shorter has three quarters. One image in four is upright.
        num_classes: Classes, which take turns.
        seed: The files depend on it alone.

    Returns:
        Mean size of a training file in bytes.
    """
    total = 0
    for split, count in (("train", images), ("val", num_classes)):
        for number in range(count):
            rng = np.random.default_rng([seed, split == "val", number])
            place = folder / split / f"{number % num_classes:02d}"
            place.mkdir(parents=True, exist_ok=True)
            size = (side, side * 3 // 4)
            picture = photo(rng, *(size if number % 4 else size[::-1]))
            file = place / f"{number:06d}.jpg"
            picture.save(file, quality=int(rng.integers(75, 91)))
            total += file.stat().st_size if split == "train" else 0
    return round(total / images)
