"""AutoAugment for one image in a worker of the host path, by torchvision's operations (cubuk2019autoaugment)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from torch import Tensor
from torchvision.transforms.v2 import functional

from tailwise.augment.auto_policy import OPERATIONS


def auto_augment_item(image: Tensor, operation: Sequence[int], magnitude: Sequence[float], flip: bool) -> Tensor:
    """One image through the operations of the plan; what :mod:`tailwise.augment.auto_augment` does to a batch.

    The plan's flip comes before the operations, and the device flips after this. So the image is mirrored, changed,
    and mirrored back.

    Args:
        image: uint8 ``[3,H,W]``.
        operation: Places in :data:`~tailwise.augment.auto_policy.OPERATIONS`.
        magnitude: As :func:`~tailwise.augment.auto_policy.draw_auto` gives them.
        flip: Whether the device will mirror the image.

    Returns:
        uint8 ``[3,H,W]``.
    """
    image = image.flip(-1) if flip else image
    for number, strength in zip(operation, magnitude, strict=True):
        image = _APPLY[OPERATIONS[number]](image, strength)
    return image.flip(-1) if flip else image


def _affine(image: Tensor, *, shift: tuple[int, int] = (0, 0), slope: tuple[float, float] = (0.0, 0.0)) -> Tensor:
    degrees = [math.degrees(math.atan(value)) for value in slope]
    centre = [0.0, 0.0] if any(slope) else None
    return functional.affine(image, angle=0.0, translate=list(shift), scale=1.0, shear=degrees, center=centre)


_APPLY: dict[str, Callable[[Tensor, float], Tensor]] = {
    "identity": lambda image, _: image,
    "shear_x": lambda image, value: _affine(image, slope=(value, 0.0)),
    "shear_y": lambda image, value: _affine(image, slope=(0.0, value)),
    "translate_x": lambda image, value: _affine(image, shift=(int(value), 0)),
    "translate_y": lambda image, value: _affine(image, shift=(0, int(value))),
    "rotate": lambda image, value: functional.rotate(image, value),
    "brightness": lambda image, value: functional.adjust_brightness(image, 1 + value),
    "color": lambda image, value: functional.adjust_saturation(image, 1 + value),
    "contrast": lambda image, value: functional.adjust_contrast(image, 1 + value),
    "sharpness": lambda image, value: functional.adjust_sharpness(image, 1 + value),
    "posterize": lambda image, value: functional.posterize(image, int(value)),
    "solarize": lambda image, value: functional.solarize(image, value),
    "autocontrast": lambda image, _: functional.autocontrast(image),
    "equalize": lambda image, _: functional.equalize(image),
    "invert": lambda image, _: functional.invert(image),
}
