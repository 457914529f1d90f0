"""The augmentation slots. Each separates drawing (numpy, into the plan) from applying (tensors, on the device)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from tailwise.core.registry import Slot
from tailwise.core.types import Target

Draws = dict[str, NDArray[Any]]


class Mix(Slot):
    """Mixes the images of one stream after crop and flip: input mixup and its relatives."""

    kind: ClassVar[str] = "mixes"

    def draw(self, rng: np.random.Generator, steps: int, batch: int) -> Draws:
        """Everything random of an epoch: arrays ``[steps]`` or ``[steps, batch, ...]``."""
        raise TypeError(f"{type(self).__name__} does not define draw")

    def __call__(self, image: Tensor, label: Tensor, row: Mapping[str, Tensor]) -> tuple[Tensor, Target]:
        """Applies one row of the draws to float images ``[B,3,H,W]`` and labels ``[B]``."""
        raise TypeError(f"{type(self).__name__} does not define __call__")


class View(Slot):
    """Derives one more stream from those of the batch, for example rotated copies with the angle as label."""

    kind: ClassVar[str] = "views"
    #: Name of the stream it adds.
    stream: ClassVar[str] = ""

    def draw(self, rng: np.random.Generator, steps: int, batch: int) -> Draws:
        """Everything random of an epoch; ``batch`` is the sum over the streams that exist before."""
        raise TypeError(f"{type(self).__name__} does not define draw")

    def __call__(self, image: Tensor, row: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """From the concatenated images ``[B,3,H,W]`` to the added stream's images and labels."""
        raise TypeError(f"{type(self).__name__} does not define __call__")


class FeatureAug(Slot):
    """Changes feature maps and targets between backbone and head: manifold mixup, feature space augmentation."""

    kind: ClassVar[str] = "feature_augs"

    def draw(self, rng: np.random.Generator, steps: int, batch: int) -> Draws:
        """Everything random of an epoch; ``batch`` is the sum over all streams."""
        raise TypeError(f"{type(self).__name__} does not define draw")

    def __call__(
        self, maps: Tensor, targets: Mapping[str, Target], classifier_weight: Tensor, row: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, Target]]:
        """Maps ``[B,D,h,w]``, targets by stream and classifier weight ``[C,D]`` to new maps (or ``[B,D]``), targets."""
        raise TypeError(f"{type(self).__name__} does not define __call__")
