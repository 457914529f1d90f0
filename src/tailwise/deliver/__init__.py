"""Delivery: predictions of a finished run, its calibration, and its export."""

from __future__ import annotations

from tailwise.deliver.calibration import RunCalibration
from tailwise.deliver.predictor import Prediction, Predictor, load

__all__ = ["Prediction", "Predictor", "RunCalibration", "load"]
