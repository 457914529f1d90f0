"""Quarter turns: which of the four an image was given is the label of an auxiliary task (gidaris2018unsupervised)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from tailwise.augment.base import Draws, View
from tailwise.core.errors import TailwiseError
from tailwise.core.registry import register
from tailwise.core.spec import frozen
from tailwise.core.types import MixedTarget, Target

#: Turns by 0, 90, 180 and 270 degrees.
TURNS = 4


@register("rotation", paper="gidaris2018unsupervised")
@frozen
class Rotation(View):
    r"""A stream ``rotation``: every image of the step turned by a random quarter, with the turn as label.

    The images are those of all streams, one after the other, :math:`B_\theta` in Algorithm 1 of zhang2019balance; the
    angle is one of 0, 90, 180 and 270 degrees against the clock, as likely each, drawn anew for every image and step.
    A turn moves whole pixels and rounds nothing, so it makes no difference that it comes after crop, flip and
    normalisation: constants per channel do not depend on the place.

    The paper does not say whether the turned images are normalised together with the others. Its equation (2) has
    :math:`\phi(B_\theta)` beside :math:`\phi(B)`, so both are needed, and the class tasks see no turned image. In the
    default, ``second``, the turned images go through the backbone in a pass of their own, and the running averages of
    BatchNorm, which stand for the images of the test, learn of upright images only. ``joint`` is one pass, whose
    statistics are those of all images together, in training and at the test.

    Args:
        forward: ``second`` or ``joint``.

    Raises:
        ValueError: ``forward`` is neither.
    """

    stream: ClassVar[str] = "rotation"

    forward: Literal["second", "joint"] = "second"

    def __post_init__(self) -> None:
        """Checks the choice."""
        if self.forward not in ("second", "joint"):
            raise ValueError(f"forward must be second or joint, got {self.forward!r}")

    @property
    def apart(self) -> bool:
        """Whether the turned images have a forward pass of their own."""
        return self.forward == "second"

    def draw(self, rng: np.random.Generator, steps: int, batch: int) -> Draws:
        """``turns``, int64 ``[S,B]`` in 0 to 3: quarters against the clock."""
        return {"turns": rng.integers(0, TURNS, (steps, batch))}

    def __call__(self, image: Tensor, row: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The turned images ``[B,3,H,H]`` and their turns ``[B]``.

        Raises:
            TailwiseError: The images are not square.
        """
        return turned(image, row["turns"]), row["turns"]


def turned(image: Tensor, turns: Tensor) -> Tensor:
    """Images ``[B,3,H,H]`` turned by ``turns`` quarters against the clock, int64 ``[B]``; exact, of static shapes.

    Raises:
        TailwiseError: The images are not square, so that a quarter turn has another shape.
    """
    height, width = image.shape[-2:]
    if height != width:
        raise TailwiseError(
            f"quarter turns need square images, and these have {height} x {width} pixels; crop them to "
            f"{min(height, width)} x {min(height, width)} first"
        )
    turns = turns.view(-1, 1, 1, 1)
    # One quarter is a transposition and then a reflection of the rows; three have the columns reflected instead.
    image = torch.where(turns % 2 == 1, image.transpose(2, 3), image)
    image = torch.where((turns == 1) | (turns == 2), image.flip(2), image)
    return torch.where(turns >= 2, image.flip(3), image)


def four_turns(image: Tensor, target: Target) -> tuple[Tensor, Target]:
    """Every image in all four turns, which keeps its target: ``[B,3,H,H]`` -> ``[4B,3,H,H]``, upright ones first.

    Raises:
        TailwiseError: As :func:`turned`.
    """
    quarters = torch.arange(TURNS, device=image.device)
    images = torch.cat([turned(image, quarter.expand(image.shape[0])) for quarter in quarters])
    if isinstance(target, MixedTarget):
        return images, MixedTarget(*(part.repeat(TURNS) for part in target))
    return images, target.repeat(TURNS)
