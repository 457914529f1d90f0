"""Samplers: which training images an epoch shows, as a pure function of labels, class counts and a generator."""

from __future__ import annotations

from tailwise.samplers.base import Sampler
from tailwise.samplers.confusing_classes import ConfusingClasses
from tailwise.samplers.head_classes import HeadClasses
from tailwise.samplers.over import Over
from tailwise.samplers.per_class import PerClass
from tailwise.samplers.power import Power
from tailwise.samplers.progressive import Progressive
from tailwise.samplers.tail_classes import TailClasses
from tailwise.samplers.torch_sampler import EpochSampler
from tailwise.samplers.under import Under

__all__ = [
    "ConfusingClasses",
    "EpochSampler",
    "HeadClasses",
    "Over",
    "PerClass",
    "Power",
    "Progressive",
    "Sampler",
    "TailClasses",
    "Under",
]
