"""Ordinary JPEG files measured and decoded faster than Pillow does it, to the same pixels."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray

#: Markers of the segment with the size (baseline, extended and progressive), and of those that end the search:
#: EXIF or XMP data, which may turn the image, and the start of the pixels.
_FRAMES, _EXIF, _SCAN = (0xC0, 0xC1, 0xC2), 0xE1, 0xDA


def plain_size(data: bytes) -> tuple[int, int] | None:
    """Width and height of a JPEG that is grey or in three colours of 8 bits and has no EXIF data; None of any other.

    Pillow's header reader knows everything about a JPEG, and takes as long as a tenth of the decoding.
    """
    if data[:2] != b"\xff\xd8":
        return None
    at = 2
    while at + 10 <= len(data) and data[at] == 0xFF:
        marker, length = struct.unpack_from(">BH", data, at + 1)
        if marker in _FRAMES:
            bits, height, width, colours = struct.unpack_from(">BHHB", data, at + 4)
            return (width, height) if bits == 8 and colours in (1, 3) and height and width else None
        if marker in (_EXIF, _SCAN, 0xFF):
            return None
        at += 2 + length
    return None


def fast_jpeg(data: bytes) -> NDArray[np.uint8] | None:
    """RGB pixels ``[H,W,3]`` of a colour or grey JPEG; None when Pillow should try, whose word is final.

    torchvision decodes, in two thirds of Pillow's time. Both contain libjpeg-turbo, so the pixels are the same.
    torchvision has announced that a later version will have no decoders; Pillow takes over there.
    """
    decode = _decoder()
    if decode is None:
        return None
    try:
        return decode(data)
    except RuntimeError:  # how torchvision says that a file is damaged
        return None


@cache
def _decoder() -> Callable[[bytes], NDArray[np.uint8]] | None:
    # Imported here, because the data card does not need it. The operator is called instead of the function around
    # it, which warns at every call that it is deprecated.
    import torch
    import torchvision.io

    try:
        operator, mode = torch.ops.image.decode_jpeg.default, torchvision.io.ImageReadMode.RGB.value
    except AttributeError:
        return None

    def decode(data: bytes) -> NDArray[np.uint8]:
        # The tensor is [3,H,W] over memory that is height, width, channel.
        return operator(torch.frombuffer(bytearray(data), dtype=torch.uint8), mode, False).permute(1, 2, 0).numpy()

    return decode
