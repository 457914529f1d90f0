"""Samplers: which training images an epoch shows, as a pure function of labels, class counts and a generator."""

from __future__ import annotations

from tailwise.samplers.base import Sampler
from tailwise.samplers.power import Power
from tailwise.samplers.torch_sampler import EpochSampler

__all__ = ["EpochSampler", "Power", "Sampler"]
