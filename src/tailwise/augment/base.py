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


class Generate(Slot):
    """Makes further images of a stream from its training images, in pixel space, before crop and flip.

    A class with ``n_c`` images gets ``m_c`` generated ones. A draw of the class shows one of them with the probability
    ``m_c / (n_c + m_c)``; the sampler and its class probabilities know the original counts only.
    """

    kind: ClassVar[str] = "generators"

    @property
    def needs_maps(self) -> bool:
        """Whether it needs class activation maps, so that a classifier must be trained before."""
        return False

    @property
    def other_crops(self) -> bool:
        """Whether the maps are those of other random crops of the images than the ones that are shown."""
        return False

    def numbers(self, stats: ClassStats) -> NDArray[np.int64]:
        """Generated images ``m_c`` of every class, shape ``[C]``."""
        raise TypeError(f"{type(self).__name__} does not define numbers")

    def draw(
        self,
        index: NDArray[np.int64],
        labels: NDArray[np.int64],
        stats: ClassStats,
        rng: np.random.Generator,
        once: np.random.Generator,
    ) -> tuple[NDArray[np.int64], Draws]:
        """Which draws of an epoch show generated images, and how these are made.

        Args:
            index: What the sampler drew, ``[S,B]``.
            labels: Of the training index, ``[N]``.
            stats: The class counts.
            rng: For this epoch.
            once: The same at the beginning of every epoch, for what is fixed once and for all.

        Returns:
            The index with the sources of generated images, and arrays of :class:`~tailwise.data.plan.StreamPlan`.
        """
        raise TypeError(f"{type(self).__name__} does not define draw")

    def bind(self) -> BoundGenerate:
        """The module that makes the images."""
        raise TypeError(f"{type(self).__name__} does not define bind")


class BoundGenerate(nn.Module):
    """Makes the generated images of a batch; the others stay as they are."""

    def __init__(self) -> None:
        super().__init__()
        #: Class activation maps of the training images, float16 ``[N,h,w]`` in [0, 1]. Not a buffer: it is not saved
        #: with the weights, not sent to other processes, and keeps its type.
        self.maps: Tensor | None = None

    def forward(self, stream: Mapping[str, Tensor]) -> Tensor:
        """Images ``[B,3,H,W]`` of a stream of a batch: whole ones in its type, or crops of packed ones in float32."""
        raise TypeError(f"{type(self).__name__} does not define forward")


class View(Slot):
    """Derives one more stream from those of the batch, for example rotated copies with the angle as label."""

    kind: ClassVar[str] = "views"
    #: Name of the stream it adds.
    stream: ClassVar[str] = ""

    @property
    def apart(self) -> bool:
        """Whether its images go through the backbone in a forward pass of their own.

        BatchNorm then normalises them by their own statistics, which its running averages do not learn of; those of
        the streams are what they are without the view. By default the view shares the pass of the streams.
        """
        return False

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

    #: Whether it reads the classifier with which the stage began, and the sizes of the maps that it changes.
    needs_classifier: ClassVar[bool] = False

    @property
    def places(self) -> tuple[str, ...]:
        """Where :meth:`at_place` acts: ``"input"``, layers of the backbone by name, ``"fc"``."""
        return ()

    @property
    def needs_maps(self) -> bool:
        """Whether a row has ``cam``, the class activation maps ``[B,h,w]`` with which the stage began."""
        return False

    def check(self, streams: Mapping[str, int], positions: int) -> None:
        """Refuses a stage that it cannot act in, before anything is trained; where :attr:`needs_classifier`.

        Args:
            streams: Images a step of every stream.
            positions: ``h w`` of the maps that it changes.

        Raises:
            TailwiseError: Says what is missing.
        """

    def draw(self, rng: np.random.Generator, steps: int, batch: int) -> Draws:
        """Everything random of an epoch; ``batch`` is the sum over all streams, without those of views."""
        raise TypeError(f"{type(self).__name__} does not define draw")

    def draw_for(self, rng: np.random.Generator, steps: int, batch: int, positions: int) -> Draws:
        """The same for maps with so many positions ``h w``; where :attr:`needs_classifier`."""
        return self.draw(rng, steps, batch)

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

    def counted(
        self, maps: Tensor, targets: Mapping[str, Target], classifier_weight: Tensor, row: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, Target], dict[str, Tensor]]:
        """The same, with numbers by name whose mean over the steps stands in the epoch's log; none by default."""
        changed, others = self(maps, targets, classifier_weight, row)
        return changed, others, {}
