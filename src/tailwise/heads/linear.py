"""Global average pooling and one linear layer: the ordinary classifier."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, cast

import torch
from torch import Tensor, nn

from tailwise.core.registry import register
from tailwise.core.spec import frozen, hashed_if_set
from tailwise.core.stats import ClassStats
from tailwise.heads.base import Head, HeadModule


class LinearModule(HeadModule):
    """Pooled features times a weight, plus a bias; initialised as PyTorch initialises ``nn.Linear``.

    Args:
        num_features: ``D``.
        num_classes: ``C``.
        bias: Whether there is a bias.
        start: What the bias of every class starts at; None: as PyTorch draws it.
    """

    def __init__(self, num_features: int, num_classes: int, bias: bool, start: float | None = None) -> None:
        super().__init__()
        self.fc = nn.Linear(num_features, num_classes, bias=bias)
        if start is not None:
            nn.init.constant_(self.fc.bias, start)

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


@register("linear", presets={"linear_improbable": {"bias_prior": "uniform"}})
@frozen
class Linear(Head):
    r"""Global average pooling and a linear layer with PyTorch's default initialisation.

    A sigmoid loss sums one binary problem per class, and at the start nearly all of them ask for a no. With a
    ``bias_prior`` :math:`\pi` the bias of every class therefore starts at :math:`\log \frac{\pi}{1 - \pi}`, so that
    each sigmoid begins at :math:`\pi` (lin2017focal, Sec. 3.3, with :math:`\pi = 0.01`). The code of cui2019class
    starts at :math:`-\log(C - 1)`, which is ``"uniform"``, :math:`\pi = 1 / C`; that of zhang2021bag does neither.
    Deviation: the code of cui2019class also keeps this bias out of weight decay; here it decays like every other
    parameter.

    Args:
        bias: Whether the layer has a bias.
        bias_prior: :math:`\pi`, above 0 and below 1; ``"uniform"`` for 1 / C; None for PyTorch's own draw.

    Raises:
        ValueError: ``bias_prior`` is out of range, or there is no bias to start.
    """

    bias: bool = True
    bias_prior: float | Literal["uniform"] | None = hashed_if_set(None)

    def __post_init__(self) -> None:
        """Checks the range."""
        prior = self.bias_prior
        if prior is None:
            return
        if not self.bias:
            raise ValueError(f"bias_prior needs a bias, got bias_prior={prior!r} with bias=False")
        if prior != "uniform" and not 0 < prior < 1:
            raise ValueError(f"bias_prior must be above 0 and below 1, or 'uniform', got {prior!r}")

    def build(self, num_features: int, num_classes: int, stats: ClassStats | None = None) -> LinearModule:
        """A new module; the class counts are not used."""
        prior = 1 / num_classes if self.bias_prior == "uniform" else self.bias_prior
        start = None if prior is None else math.log(prior) - math.log1p(-prior)
        return LinearModule(num_features, num_classes, self.bias, start)
