"""What a head is: hyper-parameters that build a module from feature maps to named logits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import Tensor, nn

from tailwise.core.registry import Slot
from tailwise.core.stats import ClassStats


class HeadModule(nn.Module, ABC):
    """Base of the modules that heads build: batch ``B``, feature width ``D``, map size ``h x w``, classes ``C``."""

    @abstractmethod
    def forward(self, maps: Tensor) -> dict[str, Tensor]:
        """Logits by name, ``"main"`` always among them.

        Args:
            maps: Feature maps ``[B, D, h, w]`` or pooled features ``[B, D]``.

        Returns:
            Tensors of shape ``[B, C]``; an auxiliary one may have another width.
        """

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the logits that :meth:`forward` returns."""
        return ("main",)

    @property
    @abstractmethod
    def classifier_weight(self) -> Tensor:
        """The vector of every class that multiplies the features, shape ``[C, D]``, with its gradient."""

    def predict(self, outputs: Mapping[str, Tensor]) -> Tensor:
        """The logits to classify by at test time.

        Args:
            outputs: What :meth:`forward` returned.

        Returns:
            Shape ``[B, C]``.
        """
        return outputs["main"]

    @staticmethod
    def pool(maps: Tensor) -> Tensor:
        """Global average pooling ``[B, D, h, w]`` -> ``[B, D]``; pooled features pass unchanged.

        Raises:
            ValueError: Neither two nor four dimensions.
        """
        if maps.ndim == 2:
            return maps
        if maps.ndim != 4:
            raise ValueError(f"expected maps [B, D, h, w] or pooled features [B, D], got shape {list(maps.shape)}")
        return maps.mean(dim=(2, 3))


class Head(Slot, ABC):
    """Base of all heads. A subclass is a frozen dataclass of hyper-parameters."""

    kind = "heads"

    @abstractmethod
    def build(self, num_features: int, num_classes: int, stats: ClassStats | None = None) -> HeadModule:
        """A new module with freshly drawn parameters (from torch's global generator).

        Args:
            num_features: Feature width ``D`` of the backbone.
            num_classes: ``C``.
            stats: The class counts, for heads that depend on them.
        """
