"""The augmentation slots. Each separates drawing (numpy, into the plan) from applying (tensors, on the device)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from tailwise.core.registry import Slot
from tailwise.core.stats import ClassStats
from tailwise.core.types import Target

Draws = dict[str, NDArray[Any]]


class Mix(Slot):
    """Mixes the images of one stream after crop and flip: input mixup and its relatives."""

    kind: ClassVar[str] = "mixes"

    def draw(self, rng: np.random.Generator, steps: int, batch: int) -> Draws:
        """Everything random of an epoch: arrays ``[steps]`` or ``[steps, batch, ...]``.

        A process gets every ``world``-th column of the latter, so a value in them must not be a place in the batch;
        see :mod:`tailwise.augment.pairing` for partners.
        """
        raise TypeError(f"{type(self).__name__} does not define draw")

    def bind(self, stats: ClassStats) -> nn.Module:
        """The module that mixes the images of a training set, called as the mix itself is called.

        Args:
            stats: The class counts; only a mix whose labels depend on them overrides this.
        """
        return BoundMix(self)

    def __call__(self, image: Tensor, label: Tensor, row: Mapping[str, Tensor]) -> tuple[Tensor, Target]:
        """Applies one row of the draws to float images ``[B,3,H,W]`` and labels ``[B]``."""
        raise TypeError(f"{type(self).__name__} does not define __call__; call what bind(stats) returns")


class BoundMix(nn.Module):
    """A mix that needs no class counts, as a module.

    Args:
        mix: The mix.
    """

    def __init__(self, mix: Mix) -> None:
        super().__init__()
        self.mix = mix

    def forward(self, image: Tensor, label: Tensor, row: Mapping[str, Tensor]) -> tuple[Tensor, Target]:
        """As :meth:`Mix.__call__`."""
        return self.mix(image, label, row)


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
    """Changes feature maps and targets between backbone and head: manifold mixup, feature space augmentation.

    It may act at :attr:`places` inside the network as well, where only the numbers change; the targets change in
    :meth:`__call__`, which is called for every batch.
    """

    kind: ClassVar[str] = "feature_augs"
    #: Whether it mixes labels, which can be done once only: a stage may not mix the images as well.
    mixes_labels: ClassVar[bool] = False

    @property
    def places(self) -> tuple[str, ...]:
        """Where :meth:`at_place` acts: ``"input"``, layers of the backbone by name, ``"fc"``."""
        return ()

    def draw(self, rng: np.random.Generator, steps: int, batch: int) -> Draws:
        """Everything random of an epoch; ``batch`` is the sum over all streams, without those of views."""
        raise TypeError(f"{type(self).__name__} does not define draw")

    def at_place(self, place: str, x: Tensor, targets: Mapping[str, Target], row: Mapping[str, Tensor]) -> Tensor:
        """Changes what stands at one of the :attr:`places`.

        Args:
            place: Which one.
            x: Images ``[B,3,H,W]`` at ``"input"``, what the layer returns (``B`` first), logits ``[B,C]`` at ``"fc"``.
            targets: By stream, as they are before :meth:`__call__`; streams and views follow each other in ``x`` in
                this order.
            row: One row of the draws.

        Returns:
            The same shape.
        """
        raise TypeError(f"{type(self).__name__} does not define at_place")

    def __call__(
        self, maps: Tensor, targets: Mapping[str, Target], classifier_weight: Tensor, row: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, Target]]:
        """Maps ``[B,D,h,w]``, targets by stream and classifier weight ``[C,D]`` to new maps (or ``[B,D]``), targets."""
        raise TypeError(f"{type(self).__name__} does not define __call__")
