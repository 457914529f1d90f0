"""Losses: hyper-parameters and a formula, bound to class counts; see :mod:`tailwise.losses.base`."""

from __future__ import annotations

from tailwise.losses.balanced_softmax import BalancedSoftmax
from tailwise.losses.base import BoundLoss, Loss, Reduction
from tailwise.losses.cross_entropy import CrossEntropy

__all__ = ["BalancedSoftmax", "BoundLoss", "CrossEntropy", "Loss", "Reduction"]
