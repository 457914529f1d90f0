"""Learnable weight scaling: a linear classifier with a learnable factor for each class (kang2020decoupling, Sec. 4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tailwise.core.registry import register
from tailwise.core.spec import frozen
from tailwise.core.stats import ClassStats
from tailwise.heads.base import Head, HeadModule


class LWSModule(HeadModule):
    """A linear layer ``fc`` whose class vectors are multiplied by ``scale``, which begins with ones.

    Args:
        num_features: ``D``.
        num_classes: ``C``.
        bias: Whether there is a bias.
        scale_bias: Whether the factor multiplies the bias too.
    """

    def __init__(self, num_features: int, num_classes: int, *, bias: bool, scale_bias: bool) -> None:
        super().__init__()
        self.fc = nn.Linear(num_features, num_classes, bias=bias)
        self.scale = nn.Parameter(torch.ones(num_classes))
        self.scale_bias = scale_bias

    def forward(self, maps: Tensor) -> dict[str, Tensor]:
        """``{"main": [B, C]}`` from ``[B, D, h, w]`` or ``[B, D]``."""
        # Factors of one leave weights and gradients exactly those of a linear head, which a factor of logits would not.
        return {"main": F.linear(self.pool(maps), self.classifier_weight, self.classifier_bias)}

    @classmethod
    def forward_stacked(cls, heads: Sequence[HeadModule], maps: Tensor) -> dict[str, Tensor]:
        """``{"main": [B, K, C]}`` from ``[B, K, D, h, w]`` or ``[B, K, D]`` by one batched matrix product."""
        modules = [head for head in heads if type(head) is LWSModule]
        given = [module.classifier_bias for module in modules]
        biases = [bias for bias in given if bias is not None]
        if len(modules) < len(heads) or len(biases) not in (0, len(heads)):
            return super().forward_stacked(heads, maps)
        features = cls.pool_stacked(maps).transpose(0, 1)
        weight = torch.stack([module.classifier_weight for module in modules]).transpose(1, 2)
        if biases:
            logits = torch.baddbmm(torch.stack(biases).unsqueeze(1), features, weight)
        else:
            logits = torch.bmm(features, weight)
        return {"main": logits.transpose(0, 1)}

    @property
    def classifier_weight(self) -> Tensor:
        """The scaled class vectors, shape ``[C, D]``."""
        return self.scale[:, None] * self.fc.weight

    @property
    def classifier_bias(self) -> Tensor | None:
        """The bias as it is used, shape ``[C]``, or None."""
        bias = cast("Tensor | None", self.fc.bias)
        return self.scale * bias if self.scale_bias and bias is not None else bias


@register("lws", paper="kang2020decoupling")
@frozen
class LWS(Head):
    r"""Linear classifier with a learnable factor for each class, :math:`z_c = f_c w_c^\top x`.

    It is meant for two stages. The first trains everything but the factors, ``trainable=r"(?!head\.scale)"``, and gives
    exactly what the head ``linear`` gives; the second trains nothing but the factors, ``trainable=r"head\.scale"``,
    with class-balanced sampling. :func:`tailwise.recipes.stages.lws` makes both.

    The paper's equation scales the class vectors and says nothing of the bias; its code multiplies the logit, bias
    included.

    Args:
        bias: Whether the layer has a bias.
        scale_bias: Whether the factor multiplies the bias too, as in the code.
    """

    bias: bool = True
    scale_bias: bool = True

    def build(self, num_features: int, num_classes: int, stats: ClassStats | None = None) -> LWSModule:
        """A new module; the class counts are not used."""
        return LWSModule(num_features, num_classes, bias=self.bias, scale_bias=self.scale_bias)
