"""Post-hoc kit on saved logits: numpy in, numpy out; nothing here knows of networks, recipes or runs."""

from __future__ import annotations

from tailwise.calibration.conformal import ConformalSets, fit_conformal
from tailwise.calibration.measures import CalibrationMeasures, measure_calibration
from tailwise.calibration.prior_shift import PriorEstimate, adjust_logits, estimate_prior
from tailwise.calibration.probabilities import softmax, tau_normalise
from tailwise.calibration.selective import RiskCoverage, risk_coverage
from tailwise.calibration.temperature import TemperatureScaling, fit_temperature
from tailwise.calibration.vector_scaling import VectorScaling, fit_vector_scaling

__all__ = [
    "CalibrationMeasures",
    "ConformalSets",
    "PriorEstimate",
    "RiskCoverage",
    "TemperatureScaling",
    "VectorScaling",
    "adjust_logits",
    "estimate_prior",
    "fit_conformal",
    "fit_temperature",
    "fit_vector_scaling",
    "measure_calibration",
    "risk_coverage",
    "softmax",
    "tau_normalise",
]
