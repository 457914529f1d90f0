"""Global average pooling and one linear layer: the ordinary classifier."""

from __future__ import annotations

from torch import Tensor, nn

from tailwise.core.registry import register
from tailwise.core.spec import frozen
from tailwise.core.stats import ClassStats
from tailwise.heads.base import Head, HeadModule


class LinearModule(HeadModule):
    """Pooled features times a weight, plus a bias; initialised as PyTorch initialises ``nn.Linear``.

    Args:
        num_features: ``D``.
        num_classes: ``C``.
        bias: Whether there is a bias.
    """

    def __init__(self, num_features: int, num_classes: int, bias: bool) -> None:
        super().__init__()
        self.fc = nn.Linear(num_features, num_classes, bias=bias)

    def forward(self, maps: Tensor) -> dict[str, Tensor]:
        """``{"main": [B, C]}`` from ``[B, D, h, w]`` or ``[B, D]``."""
        return {"main": self.fc(self.pool(maps))}

    @property
    def classifier_weight(self) -> Tensor:
        """The weight of the linear layer, shape ``[C, D]``."""
        return self.fc.weight


@register("linear")
@frozen
class Linear(Head):
    """Global average pooling and a linear layer with PyTorch's default initialisation.

    Args:
        bias: Whether the layer has a bias.
    """

    bias: bool = True

    def build(self, num_features: int, num_classes: int, stats: ClassStats | None = None) -> LinearModule:
        """A new module; the class counts are not used."""
        return LinearModule(num_features, num_classes, self.bias)
