"""What a change of the classifier after training is: from a trained head to another one, measured as an extra row."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from tailwise.core.registry import REGISTRY, Slot
from tailwise.core.stats import ClassStats
from tailwise.heads.base import HeadModule


@dataclass(frozen=True, eq=False)
class TrainingFeatures:
    """Pooled features of the training images, from the network in evaluation mode and without augmentation.

    Every process holds all of them.

    Attributes:
        values: Float32 ``[N, D]``.
        labels: int64 ``[N]``.
    """

    values: Tensor
    labels: Tensor


class PostHoc(Slot, ABC):
    """Base of all changes of the classifier. A subclass is a frozen dataclass of hyper-parameters.

    Nothing is trained. The network that was trained stays as it is; the changed head is a second one on its features.
    """

    kind: ClassVar[str] = "posthocs"
    #: Whether :meth:`apply` reads features of the training images. They cost a pass over these images, so such a change
    #: is measured after the last epoch only; the others are measured at every evaluation.
    needs_features: ClassVar[bool] = False
    #: Hyper-parameters that :attr:`label` shows even with their default values.
    shown: ClassVar[tuple[str, ...]] = ()

    @property
    def label(self) -> str:
        """What tables and results call it: a preset's name, or the name with what differs from the defaults.

        ``--posthoc`` takes it back.
        """
        for entry in REGISTRY.entries(self.kind):
            for preset, fixed in entry.presets.items():
                if entry.target is type(self) and entry.target(**fixed) == self:
                    return preset
        values = [
            f"{field.name}={_text(value)}"
            for field in dataclasses.fields(self)  # pyright: ignore[reportArgumentType]
            if (value := getattr(self, field.name)) != field.default or field.name in self.shown
        ]
        return f"{self.name}({', '.join(values)})" if values else self.name

    def check(self, head: HeadModule) -> None:
        """Refuses a head that cannot be changed in this way; called before training. By default every head can.

        Raises:
            TailwiseError: Names the head and those that can.
        """

    @abstractmethod
    def apply(self, head: HeadModule, stats: ClassStats, features: TrainingFeatures | None = None) -> HeadModule:
        """A new head with the change; shares nothing with the given one, which stays as it is.

        Args:
            head: The trained head.
            stats: The class counts of the training images.
            features: Of the training images where :attr:`needs_features`.

        Raises:
            TailwiseError: As :meth:`check`.
            DataError: A class has no features.
        """


def _text(value: Any) -> str:
    return f"{value:.12g}" if isinstance(value, float | int) and not isinstance(value, bool) else repr(value)
