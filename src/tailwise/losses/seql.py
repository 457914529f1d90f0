"""SEQL: rare classes are mostly left out of the softmax of other classes' images (tan2020equalization)."""

from __future__ import annotations

import math
import typing
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from tailwise.core.checks import within
from tailwise.core.registry import register
from tailwise.core.spec import frozen
from tailwise.losses.base import Loss

#: Whether the random weights of the softmax are replaced by their mean or drawn.
Mask = Literal["expected", "drawn"]


@register("seql", paper="tan2020equalization", presets={"seql_drawn": {"mask": "drawn"}})
@frozen
class SEQL(Loss):
    r"""Softmax equalisation loss: images of other classes seldom push a rare class down.

    The loss is :math:`-\log \frac{e^{z_y}}{\sum_c w_c e^{z_c}}`. The weight is :math:`w_c = 1 - \beta T(f_c) [c \neq
    y]`, where :math:`T(f_c)` is 1 for classes whose share of the images :math:`f_c = n_c / N` is below :math:`\lambda`,
    and :math:`\beta` is 1 with probability :math:`\gamma` and otherwise 0.

    Deviation from the paper: by default :math:`\beta` is replaced by its mean :math:`\gamma`, which makes the loss a
    function of its inputs: the same alone, in several processes and beside other runs. Both forms agree in the mean of
    :math:`e^{loss}`. ``mask="drawn"`` is the paper's: :math:`\beta` is drawn for every sample and class at every call,
    as in the code of Zhang et al. (2021), from PyTorch's default generator of the logits' device. That needs no
    synchronisation, and CUDA graphs support it, but numbers then depend on whatever else draws from this generator.

    Args:
        gamma: :math:`\gamma`, in [0, 1]; 0 gives cross-entropy.
        threshold: :math:`\lambda`, a share of the images in [0, 1].
        mask: ``"expected"`` or ``"drawn"``.

    Raises:
        ValueError: A value is out of range.
    """

    gamma: float = 0.9
    threshold: float = 0.005
    mask: Mask = "expected"

    def __post_init__(self) -> None:
        """Checks the ranges and the choice."""
        within("gamma", self.gamma, 0, 1)
        within("threshold", self.threshold, 0, 1)
        if self.mask not in typing.get_args(Mask):
            raise ValueError(f"mask must be one of {', '.join(typing.get_args(Mask))}, got {self.mask!r}")

    def class_terms(self, counts: Tensor) -> dict[str, Tensor]:
        """``rare``, 1 for the classes below the threshold and 0 for the others, shape ``[C]``."""
        return {"rare": (counts / counts.sum() < self.threshold).to(counts.dtype)}

    def per_sample(self, logits: Tensor, target: Tensor, *, rare: Tensor) -> Tensor:
        """The loss of every sample: ``[B, C]``, ``[B]`` -> ``[B]``."""
        spared = (rare > 0) & ~F.one_hot(target, logits.shape[1]).bool()
        if self.mask == "drawn":
            weighted = logits.masked_fill(spared & (torch.rand_like(logits) < self.gamma), -math.inf)
        else:
            log_weight = math.log1p(-self.gamma) if self.gamma < 1 else -math.inf
            weighted = torch.where(spared, logits + log_weight, logits)
        return F.cross_entropy(weighted, target, reduction="none")
