"""Learning-rate schedules: pure functions from a position in the run to a factor of the base rate.

A schedule belongs to an optimiser and spans every stage that carries this optimiser on. ``epoch`` counts completed
epochs of that span from 0; the first epoch trains with ``factor(0, ...)``.
"""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar, Literal

from tailwise.core.registry import Slot, register
from tailwise.core.spec import frozen

Warmup = Literal["linear", "third", "step"]


class Schedule(Slot):
    """Base of the schedules."""

    kind: ClassVar[str] = "schedules"

    def factor(self, epoch: int, fraction: float, total: float) -> float:
        """What the base learning rate is multiplied with.

        Args:
            epoch: Completed epochs of the optimiser's span.
            fraction: Share of the current epoch that is done, in [0, 1).
            total: Epochs of the whole span.
        """
        raise TypeError(f"{type(self).__name__} does not define factor")

    def rescale(self, ratio: float) -> Schedule:
        """The same shape for a run that is ``ratio`` times as long."""
        del ratio
        return self


def warmup_factor(kind: Warmup, epochs: float, epoch: int, fraction: float) -> float:
    """The warm-up forms of the field (protocol names in :class:`MultiStep`); 1 after the warm-up."""
    if epoch >= epochs:
        return 1.0
    if kind == "linear":
        return (epoch + 1) / epochs
    if kind == "third":
        share = (epoch + 1) / epochs
        return (1 - share) / 3 + share
    return (epoch + fraction) / epochs


@register("constant")
@frozen
class Constant(Schedule):
    """The base rate throughout."""

    def factor(self, epoch: int, fraction: float, total: float) -> float:
        """Always 1."""
        del epoch, fraction, total
        return 1.0


@register("multistep")
@frozen
class MultiStep(Schedule):
    """Multiply by ``gamma`` at each milestone, after a warm-up.

    Milestones count completed epochs: 160 acts from the 161st epoch on (LDAM-DRW, ResLT). BagofTricks and BBN step
    before the epoch, which is one earlier: their 160 is 159 here.

    Warm-up, e = epoch from 1: ``linear`` e/W (LDAM-DRW, RIDE); ``third`` (1-a)/3 + a with a = e/W (BagofTricks, BBN,
    ResLT on CIFAR); ``step`` grows with every step from 0 (Cui et al.).
    """

    milestones: tuple[int, ...] = (160, 180)
    gamma: float = 0.01
    warmup_epochs: int = 5
    warmup: Warmup = "linear"

    def __post_init__(self) -> None:
        if list(self.milestones) != sorted(self.milestones) or min(self.milestones, default=0) < 0:
            raise ValueError(f"milestones must ascend from 0, got {self.milestones}")
        _check_warmup(self.warmup_epochs)
        if not 0 < self.gamma <= 1:
            raise ValueError(f"gamma must be in (0, 1], got {self.gamma}")

    def factor(self, epoch: int, fraction: float, total: float) -> float:
        """Warm-up factor times one gamma for every milestone passed."""
        del total
        passed = sum(epoch >= milestone for milestone in self.milestones)
        return warmup_factor(self.warmup, self.warmup_epochs, epoch, fraction) * self.gamma**passed

    def rescale(self, ratio: float) -> Schedule:
        """Milestones and warm-up at the same shares of the run, rounded to whole epochs."""
        return dataclasses.replace(
            self,
            milestones=tuple(max(1, round(milestone * ratio)) for milestone in self.milestones),
            warmup_epochs=round(self.warmup_epochs * ratio),
        )


@register("cosine")
@frozen
class Cosine(Schedule):
    """Half a cosine from the base rate towards 0, after a warm-up.

    ``shift`` moves the position inside the decay: 0 starts it at the base rate; 1 steps before the epoch, so the last
    epoch has rate 0 (classifier-balancing; with a five-epoch warm-up and offset 4 of E - 4 also ResLT on ImageNet-LT,
    where it is ``warmup_epochs=5, warmup_counts=4, shift=0``).
    """

    warmup_epochs: int = 0
    warmup: Warmup = "linear"
    shift: int = 0
    warmup_counts: int | None = None
    """Epochs taken off the position and the total in the decay; None: the warm-up's length."""
    per_step: bool = False
    """Follow the curve within an epoch instead of once an epoch."""

    def __post_init__(self) -> None:
        _check_warmup(self.warmup_epochs)

    def factor(self, epoch: int, fraction: float, total: float) -> float:
        """Warm-up, then ``(1 + cos(pi t)) / 2`` with t the share of the decay that is done."""
        if epoch < self.warmup_epochs:
            return warmup_factor(self.warmup, self.warmup_epochs, epoch, fraction)
        offset = self.warmup_epochs if self.warmup_counts is None else self.warmup_counts
        position = epoch - offset + self.shift + (fraction if self.per_step else 0.0)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, position / max(total - offset, 1e-9)))))

    def rescale(self, ratio: float) -> Schedule:
        """The warm-up at the same share of the run; the decay follows the run's length by itself."""
        counts = None if self.warmup_counts is None else round(self.warmup_counts * ratio)
        return dataclasses.replace(self, warmup_epochs=round(self.warmup_epochs * ratio), warmup_counts=counts)


def _check_warmup(epochs: int) -> None:
    if epochs < 0:
        raise ValueError(f"warmup_epochs must be at least 0, got {epochs}")
