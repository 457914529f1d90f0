"""Changes of the classifier after training; see :mod:`tailwise.posthoc.base`."""

from __future__ import annotations

from tailwise.posthoc.base import PostHoc, TrainingFeatures
from tailwise.posthoc.logit_adjustment import LogitAdjustment
from tailwise.posthoc.ncm import NCM
from tailwise.posthoc.tau_norm import TauNorm

__all__ = ["NCM", "LogitAdjustment", "PostHoc", "TauNorm", "TrainingFeatures"]
