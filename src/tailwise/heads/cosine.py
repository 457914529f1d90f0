"""Cosine classifier: features and class vectors of unit length, times a scale (cao2019ldam, Sec. 3.2)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tailwise.core.registry import register
from tailwise.core.spec import frozen
from tailwise.core.stats import ClassStats
from tailwise.heads.base import Head, HeadModule


class CosineModule(HeadModule):
    """Scaled cosine between the pooled features and every class vector, without bias.

    Class vectors are drawn uniformly from [-1, 1] per entry and brought to unit length.

    Args:
        num_features: ``D``.
        num_classes: ``C``.
        scale: The largest possible logit.
    """

    def __init__(self, num_features: int, num_classes: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.weight = nn.Parameter(F.normalize(torch.empty(num_classes, num_features).uniform_(-1.0, 1.0)))

    def forward(self, maps: Tensor) -> dict[str, Tensor]:
        """``{"main": [B, C]}`` with values in ``[-scale, scale]`` from ``[B, D, h, w]`` or ``[B, D]``."""
        return {"main": self.scale * F.linear(F.normalize(self.pool(maps)), self.classifier_weight)}

    @classmethod
    def forward_stacked(cls, heads: Sequence[HeadModule], maps: Tensor) -> dict[str, Tensor]:
        """``{"main": [B, K, C]}`` from ``[B, K, D, h, w]`` or ``[B, K, D]`` by one batched matrix product."""
        modules = [head for head in heads if type(head) is CosineModule]
        if len(modules) < len(heads) or any(module.scale != modules[0].scale for module in modules):
            return super().forward_stacked(heads, maps)
        weights: list[Tensor] = [module.weight for module in modules]
        features = F.normalize(cls.pool_stacked(maps), dim=-1).transpose(0, 1)
        weight = F.normalize(torch.stack(weights), dim=-1).transpose(1, 2)
        return {"main": modules[0].scale * torch.bmm(features, weight).transpose(0, 1)}

    @property
    def classifier_weight(self) -> Tensor:
        """The class vectors as they are used, of unit length, shape ``[C, D]``."""
        return F.normalize(self.weight)


@register("cosine", paper="cao2019ldam")
@frozen
class Cosine(Head):
    r"""Cosine classifier, logits :math:`s \cos(w_c, x)`.

    The paper's code multiplies by :math:`s` inside the loss; here it belongs to the head, so that every loss can be
    used with it. A loss that applies a scale of its own wants ``scale=1``.

    Args:
        scale: :math:`s`, above 0.

    Raises:
        ValueError: ``scale`` is not a positive number.
    """

    scale: float = 30.0

    def __post_init__(self) -> None:
        """Checks the range."""
        if not (self.scale > 0.0 and math.isfinite(self.scale)):
            raise ValueError(f"scale must be a positive number, got {self.scale}")

    def build(self, num_features: int, num_classes: int, stats: ClassStats | None = None) -> CosineModule:
        """A new module; the class counts are not used."""
        return CosineModule(num_features, num_classes, self.scale)
