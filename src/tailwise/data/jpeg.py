"""Ordinary JPEG files decoded faster than Pillow does it, to the same pixels."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray

Decoder = Callable[[bytes], NDArray[np.uint8]]


def fast_jpeg(data: bytes) -> NDArray[np.uint8] | None:
    """RGB pixels ``[H,W,3]`` of a colour or grey JPEG; None when Pillow should try, whose word is final.

    simplejpeg decodes if it is installed (``pip install tailwise[fastdecode]``), otherwise torchvision. All of them
    contain libjpeg-turbo, so the pixels do not depend on which one decodes. torchvision has announced that a later
    version will be without decoders; Pillow takes over then.
    """
    decode = _decoder()
    if decode is None:
        return None
    try:
        return decode(data)
    except (ValueError, RuntimeError):  # how the two say that a file is damaged
        return None


@cache
def _decoder() -> Decoder | None:
    return _simplejpeg() or _torchvision()


def _simplejpeg() -> Decoder | None:
    try:
        import simplejpeg  # pyright: ignore[reportMissingImports]
    except ImportError:
        return None
    return lambda data: simplejpeg.decode_jpeg(data, colorspace="RGB")


def _torchvision() -> Decoder | None:
    # Imported here, because the data card needs neither. The operator is called instead of the function around it:
    # that warns at every call that it is deprecated.
    import torch
    import torchvision.io

    try:
        operator, mode = torch.ops.image.decode_jpeg, torchvision.io.ImageReadMode.RGB.value
    except AttributeError:
        return None

    def decode(data: bytes) -> NDArray[np.uint8]:
        # The tensor is [3,H,W] over memory that is height, width, channel.
        return operator(torch.frombuffer(bytearray(data), dtype=torch.uint8), mode, False).permute(1, 2, 0).numpy()

    return decode
