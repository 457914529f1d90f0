"""What a run takes from an image pack: whether the pack serves its settings, and what its pixels are called."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tailwise.core.errors import DataError
from tailwise.data.open import Splits
from tailwise.data.pack import Pack, open_pack
from tailwise.data.resident import resident_bytes
from tailwise.engine.recipe import Data


def open_for(data: Data, splits: Splits) -> Pack | None:
    """The pack that a data section names, checked against its images and sizes; None when it names none.

    Raises:
        DataError: Not a pack, or one of other images, or of smaller ones than are needed.
    """
    if data.pack is None:
        return None
    pack = open_pack(Path(data.pack).expanduser(), splits)
    needed, packed = round(data.image_size * data.eval_zoom), pack.header.size
    if packed < needed:
        raise DataError(
            f"the pack {pack.folder} has {packed} pixels on the short side, and {needed} are needed (image_size "
            f"{data.image_size} times eval_zoom {data.eval_zoom:.4g}); pack again with --size {needed}, or choose a "
            "smaller --image-size or --data.eval-zoom"
        )
    return pack


def pixels_of(data: Data, pack: Pack | None) -> str | None:
    """What the pixels are called in the recipe; None where they are those of decoding the image files.

    Raises:
        DataError: The recipe says that it used others.
    """
    same = pack is None or (
        pack.header.mode == "square"
        and pack.header.size == data.image_size
        and data.eval_zoom == 1.0
        and data.augmentation != "random_resized_crop"
    )
    pixels = None if same or pack is None else pack.pixels
    if data.pixels is not None and data.pixels != pixels:
        found = "decoded from the image files (--pack names a pack)" if pixels is None else pixels
        raise DataError(
            f"the recipe is of pixels {data.pixels}, and those of this run would be {found}. To train on what is "
            "there now, remove `pixels` from the recipe file"
        )
    return pixels


def crops_on_device(data: Data) -> bool:
    """Whether random resized crops are cut from packed images on the device."""
    return data.pack is not None and data.augmentation == "random_resized_crop"


def packed_bytes(data: Data, pack: Pack, positions: NDArray[np.int64], num_eval: int) -> int:
    """Device memory that the training images of these positions and the evaluation images take."""
    evaluation = resident_bytes(num_eval, data.image_size)
    if not crops_on_device(data):
        return resident_bytes(len(positions), data.image_size) + evaluation
    return 3 * int(pack.train.sizes[positions].prod(axis=1).sum()) + evaluation
