"""Samplers: which training images an epoch shows, as a pure function of labels, class counts and a generator."""

from __future__ import annotations

from tailwise.samplers.base import Sampler
from tailwise.samplers.over import Over
from tailwise.samplers.per_class import PerClass
from tailwise.samplers.power import Power
from tailwise.samplers.progressive import Progressive
from tailwise.samplers.torch_sampler import EpochSampler
from tailwise.samplers.under import Under

__all__ = ["EpochSampler", "Over", "PerClass", "Power", "Progressive", "Sampler", "Under"]
