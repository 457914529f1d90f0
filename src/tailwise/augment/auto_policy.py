"""AutoAugment's learned policies as data, and drawing from them (cubuk2019autoaugment, Tables 7 and 9)."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from tailwise.core.errors import UnknownName

#: Which policy: the one learned on CIFAR-10 or the one learned on ImageNet.
AutoPolicy = Literal["cifar10", "imagenet"]

#: The operations; their places are the numbers in a plan. The first changes nothing.
OPERATIONS = (
    "identity",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
    "rotate",
    "brightness",
    "color",
    "contrast",
    "sharpness",
    "posterize",
    "solarize",
    "autocontrast",
    "equalize",
    "invert",
)
#: Those whose magnitude is turned round half of the time.
SIGNED = ("shear_x", "shear_y", "translate_x", "translate_y", "rotate", "brightness", "color", "contrast", "sharpness")

#: Policies: two operations each, with probability and level from 0 to 9 (none where there is no strength).
_CIFAR10 = """
invert .1 -, contrast .2 6; rotate .7 2, translate_x .3 9; sharpness .8 1, sharpness .9 3;
shear_y .5 8, translate_y .7 9; autocontrast .5 -, equalize .9 -; shear_y .2 7, posterize .3 7;
color .4 3, brightness .6 7; sharpness .3 9, brightness .7 9; equalize .6 -, equalize .5 -;
contrast .6 7, sharpness .6 5; color .7 7, translate_x .5 8; equalize .3 -, autocontrast .4 -;
translate_y .4 3, sharpness .2 6; brightness .9 6, color .2 8; solarize .5 2, invert 0 -;
equalize .2 -, autocontrast .6 -; equalize .2 -, equalize .6 -; color .9 9, equalize .6 -;
autocontrast .8 -, solarize .2 8; brightness .1 3, color .7 0; solarize .4 5, autocontrast .9 -;
translate_y .9 9, translate_y .7 9; autocontrast .9 -, solarize .8 3; equalize .8 -, invert .1 -;
translate_y .7 9, autocontrast .9 -
"""
_IMAGENET = """
posterize .4 8, rotate .6 9; solarize .6 5, autocontrast .6 -; equalize .8 -, equalize .6 -;
posterize .6 7, posterize .6 6; equalize .4 -, solarize .2 4; equalize .4 -, rotate .8 8;
solarize .6 3, equalize .6 -; posterize .8 5, equalize 1 -; rotate .2 3, solarize .6 8;
equalize .6 -, posterize .4 6; rotate .8 8, color .4 0; rotate .4 9, equalize .6 -;
equalize 0 -, equalize .8 -; invert .6 -, equalize 1 -; color .6 4, contrast 1 8;
rotate .8 8, color 1 2; color .8 8, solarize .8 7; sharpness .4 7, invert .6 -;
shear_x .6 5, equalize 1 -; color .4 0, equalize .6 -; equalize .4 -, solarize .2 4;
solarize .6 5, autocontrast .6 -; invert .6 -, equalize 1 -; color .6 4, contrast 1 8;
equalize .8 -, equalize .6 -
"""

Step = tuple[str, float, int | None]


def policies(name: AutoPolicy) -> list[tuple[Step, Step]]:
    """The 25 pairs of a policy: operation, probability, level.

    Raises:
        UnknownName: No such policy.
    """
    if name not in get_args(AutoPolicy):
        raise UnknownName("AutoAugment policy", name, get_args(AutoPolicy))
    found: list[tuple[Step, Step]] = []
    for pair in {"cifar10": _CIFAR10, "imagenet": _IMAGENET}[name].split(";"):
        first, second = (_step(text) for text in pair.split(","))
        found.append((first, second))
    return found


def _step(text: str) -> Step:
    operation, probability, level = text.split()
    return operation, float(probability), None if level == "-" else int(level)


def strength(operation: str, level: int | None, size: int) -> float:
    """What an operation's level means, without sign.

    Args:
        operation: One of :data:`OPERATIONS`.
        level: From 0 to 9; None for an operation without strength.
        size: Side of the images in pixels, which translations depend on.

    Returns:
        Shears as a slope up to 0.3; translations in whole pixels up to 150/331 of the side; rotations in degrees up to
        30; colours, contrast, brightness and sharpness as a change of the factor up to 0.9; ``posterize`` in bits that
        are kept, 8 to 4; ``solarize`` as the pixel value above which is inverted, 255 to 0. These are the ranges of
        torchvision, with ten levels.
    """
    if level is None:
        return 0.0
    share = level / 9
    if operation.startswith("translate"):
        return float(int(np.float32(150 / 331 * size * share)))
    if operation == "posterize":
        return 8.0 - round(4 * share)
    ranges = {"rotate": 30.0, "shear_x": 0.3, "shear_y": 0.3}
    return 255 * (1 - share) if operation == "solarize" else ranges.get(operation, 0.9) * share


def draw_auto(
    name: AutoPolicy, shape: tuple[int, ...], size: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Two operations for every image: the pair uniformly, each operation by its probability, each sign by half.

    Args:
        name: Which policy.
        shape: Of the images, for example steps and batch.
        size: Side of the images in pixels.
        rng: Source of all numbers; as many are drawn for every image.

    Returns:
        Operations int64 ``[*shape,2]``, 0 where none acts, and strengths float32 ``[*shape,2]``.

    Raises:
        UnknownName: No such policy.
    """
    table = policies(name)
    operation = np.array([[OPERATIONS.index(step[0]) for step in pair] for pair in table])
    probability = np.array([[step[1] for step in pair] for pair in table])
    value = np.array([[strength(step[0], step[2], size) for step in pair] for pair in table])
    signed = np.array([[step[0] in SIGNED for step in pair] for pair in table])
    pair = rng.integers(0, len(table), shape)
    acts = rng.random((*shape, 2)) < probability[pair]
    turned = signed[pair] & (rng.random((*shape, 2)) < 0.5)
    chosen = np.where(acts, operation[pair], 0).astype(np.int64)
    return chosen, np.where(acts, np.where(turned, -value[pair], value[pair]), 0).astype(np.float32)
