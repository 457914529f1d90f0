"""Logit adjustment after training: logits lowered by the log class frequency (menon2021long, Eq. 9)."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from tailwise.core.checks import finite
from tailwise.core.registry import register
from tailwise.core.spec import frozen
from tailwise.core.stats import ClassStats
from tailwise.heads.base import HeadModule
from tailwise.posthoc.base import PostHoc, TrainingFeatures


class AdjustedModule(HeadModule):
    """A head whose predicted logits are shifted by a number for each class.

    Args:
        head: Any head.
        shift: What is added, shape ``[C]``.
    """

    shift: Tensor

    def __init__(self, head: HeadModule, shift: Tensor) -> None:
        super().__init__()
        self.head = head
        self.register_buffer("shift", shift)

    def forward(self, maps: Tensor) -> dict[str, Tensor]:
        """What the head returns, unshifted."""
        return self.head(maps)

    @property
    def names(self) -> tuple[str, ...]:
        """Those of the head."""
        return self.head.names

    def for_export(self) -> HeadModule:
        """The shift around what the head exports."""
        return AdjustedModule(self.head.for_export(), self.shift)

    @property
    def classifier_weight(self) -> Tensor:
        """That of the head."""
        return self.head.classifier_weight

    def predict(self, outputs: Mapping[str, Tensor]) -> Tensor:
        """The head's prediction, shifted; float32 or above, ``[B, C]``."""
        return self.head.predict(outputs) + self.shift


@register("logit_adjustment", paper="menon2021long")
@frozen
class LogitAdjustment(PostHoc):
    r"""Logits lowered by the log frequency of their class, :math:`z_c - \tau \log (n_c / N)` (Eq. 9).

    With :math:`\tau = 1` and calibrated probabilities this is the best guess under equally frequent classes. It suits
    networks trained with a softmax cross-entropy that knows nothing of the class counts; the loss ``logit_adjustment``
    has the shift in training already.

    Args:
        tau: :math:`\tau`, a finite number; 0 changes nothing.

    Raises:
        ValueError: ``tau`` is not finite.
    """

    shown: ClassVar[tuple[str, ...]] = ("tau",)

    tau: float = 1.0

    def __post_init__(self) -> None:
        """Checks the value."""
        finite("tau", self.tau)

    def apply(self, head: HeadModule, stats: ClassStats, features: TrainingFeatures | None = None) -> HeadModule:
        """The head with shifted logits; see :meth:`tailwise.posthoc.base.PostHoc.apply`."""
        weight = head.classifier_weight
        dtype = torch.promote_types(weight.dtype, torch.float32)
        shift = torch.tensor(-self.tau * np.log(stats.prior), dtype=dtype, device=weight.device)
        return AdjustedModule(copy.deepcopy(head), shift)
