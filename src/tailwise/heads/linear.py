"""Global average pooling and one linear layer: the ordinary classifier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
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

    @classmethod
    def forward_stacked(cls, heads: Sequence[HeadModule], maps: Tensor) -> dict[str, Tensor]:
        """``{"main": [B, K, C]}`` from ``[B, K, D, h, w]`` or ``[B, K, D]`` by one batched matrix product."""
        layers = [head.fc for head in heads if type(head) is LinearModule]
        biases: list[Tensor] = [layer.bias for layer in layers if cast("Tensor | None", layer.bias) is not None]
        if len(layers) < len(heads) or len(biases) not in (0, len(heads)):
            return super().forward_stacked(heads, maps)
        features = cls.pool_stacked(maps).transpose(0, 1)
        weights: list[Tensor] = [layer.weight for layer in layers]
        weight = torch.stack(weights).transpose(1, 2)
        if biases:
            logits = torch.baddbmm(torch.stack(biases).unsqueeze(1), features, weight)
        else:
            logits = torch.bmm(features, weight)
        return {"main": logits.transpose(0, 1)}

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
