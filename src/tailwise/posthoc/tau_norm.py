"""Tau-normalisation: class vectors divided by a power of their length (kang2020decoupling, Sec. 4)."""

from __future__ import annotations

import copy
from typing import ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from tailwise.core.checks import finite
from tailwise.core.errors import TailwiseError
from tailwise.core.registry import register
from tailwise.core.spec import frozen
from tailwise.core.stats import ClassStats
from tailwise.heads.base import HeadModule
from tailwise.heads.experts import ExpertsModule
from tailwise.posthoc.base import PostHoc, TrainingFeatures


@register("tau_norm", paper="kang2020decoupling")
@frozen
class TauNorm(PostHoc):
    r"""Class vectors divided by a power of their length, :math:`\tilde{w}_c = w_c / \lVert w_c \rVert^\tau`.

    Trained on a long tail, large classes have long vectors. With :math:`\tau = 1` all have length 1, with
    :math:`\tau = 0` nothing is divided. The paper drops the bias, as its code and that of cui2022reslt (0.3 and 0.7 on
    ImageNet-LT) do; the code of zhang2021bag (:math:`\tau = 1`) keeps it. A vector of length 0 stays as it is.

    :math:`\tau` is a hyper-parameter: the paper chooses it between 0 and 1 on a validation set. Chosen on the test set,
    its accuracy is optimistic.

    Only the linear layer of a head changes (its ``fc``); what a head does before or after it stays. Of the head
    ``experts``, every expert's layer changes, as in the code of cui2022reslt (0.7 for ResNeXt-50).

    Args:
        tau: :math:`\tau`, a finite number.
        bias: Whether the bias is set to 0 (``drop``) or kept.

    Raises:
        ValueError: ``tau`` is not finite or ``bias`` is neither of both.
    """

    shown: ClassVar[tuple[str, ...]] = ("tau",)

    tau: float = 1.0
    bias: Literal["drop", "keep"] = "drop"

    def __post_init__(self) -> None:
        """Checks both values."""
        finite("tau", self.tau)
        if self.bias not in ("drop", "keep"):
            raise ValueError(f"bias must be drop or keep, got {self.bias!r}")

    def check(self, head: HeadModule) -> None:
        """Refuses a head without a linear layer ``fc``.

        Raises:
            TailwiseError: Names the head's class.
        """
        for part in _heads(head):
            _linear_layer(part)

    def apply(self, head: HeadModule, stats: ClassStats, features: TrainingFeatures | None = None) -> HeadModule:
        """The head with rescaled class vectors; see :meth:`tailwise.posthoc.base.PostHoc.apply`."""
        changed = copy.deepcopy(head)
        for part in _heads(changed):
            self._divide(_linear_layer(part))
        return changed

    def _divide(self, layer: nn.Linear) -> None:
        with torch.no_grad():
            length = layer.weight.double().norm(dim=1, keepdim=True)
            factor = torch.where(length > 0, length, 1.0) ** -self.tau
            layer.weight.copy_(layer.weight.double() * factor)
            bias = cast("Tensor | None", layer.bias)
            if self.bias == "drop" and bias is not None:
                bias.zero_()


def _heads(head: HeadModule) -> list[HeadModule]:
    return head.heads if isinstance(head, ExpertsModule) else [head]


def _linear_layer(head: HeadModule) -> nn.Linear:
    layer = getattr(head, "fc", None)
    if not isinstance(layer, nn.Linear):
        raise TailwiseError(
            f"tau_norm rescales a linear classifier, and {type(head).__name__} has none; "
            "a head with one is linear or lws (--with head=linear)"
        )
    return layer
