"""Losses: hyper-parameters and a formula, bound to class counts; see :mod:`tailwise.losses.base`."""

from __future__ import annotations

from tailwise.losses.balanced_softmax import BalancedSoftmax
from tailwise.losses.base import BoundLoss, Loss, Reduction
from tailwise.losses.cdt import CDT
from tailwise.losses.class_balanced import ClassBalanced
from tailwise.losses.class_balanced_focal import ClassBalancedFocal
from tailwise.losses.cost_sensitive import CostSensitive
from tailwise.losses.cost_sensitive_focal import CostSensitiveFocal
from tailwise.losses.cross_entropy import CrossEntropy
from tailwise.losses.focal import Focal
from tailwise.losses.influence_balanced import InfluenceBalanced
from tailwise.losses.label_aware_smoothing import LabelAwareSmoothing
from tailwise.losses.ldam import LDAM
from tailwise.losses.logit_adjustment import LogitAdjustment
from tailwise.losses.seql import SEQL

__all__ = [
    "CDT",
    "LDAM",
    "SEQL",
    "BalancedSoftmax",
    "BoundLoss",
    "ClassBalanced",
    "ClassBalancedFocal",
    "CostSensitive",
    "CostSensitiveFocal",
    "CrossEntropy",
    "Focal",
    "InfluenceBalanced",
    "LabelAwareSmoothing",
    "LogitAdjustment",
    "Loss",
    "Reduction",
]
