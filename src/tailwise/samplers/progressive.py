"""Progressively-balanced sampling: from instance-balanced to class-balanced (kang2020decoupling, Eq. 2)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tailwise.core.checks import within
from tailwise.core.registry import register
from tailwise.core.spec import frozen
from tailwise.core.stats import ClassStats
from tailwise.samplers.base import Sampler


@register("progressive", paper="kang2020decoupling")
@frozen
class Progressive(Sampler):
    r"""Progressively-balanced sampling: from instance-balanced to class-balanced within a stage.

    The class probabilities are :math:`p_c = (1 - t) \, n_c / N + t / C`; of the class, any image is as likely.
    :math:`t` goes linearly from ``start`` in the first epoch of the stage to ``end`` in the last. From 0 to 1 is what
    the code of kang2020decoupling does. The same equation in zhang2021bag (Eq. 8) has :math:`t = e / T` with epochs
    counted from 1, so ``start`` is ``1 / T``; its code keeps counting epochs of the whole run where sampling is
    deferred, so a stage that begins with epoch 161 of 200 starts at ``161 / 200``.

    Args:
        start: :math:`t` in the first epoch, in [0, 1].
        end: :math:`t` in the last epoch, in [0, 1].

    Raises:
        ValueError: One of them is outside.
    """

    start: float = 0.0
    end: float = 1.0

    def __post_init__(self) -> None:
        """Checks both values."""
        within("start", self.start, 0, 1)
        within("end", self.end, 0, 1)

    def class_mass(self, stats: ClassStats, progress: float) -> NDArray[np.float64]:
        """The mixture of both probabilities at this progress, shape ``[C]``."""
        share = (1 - progress) * self.start + progress * self.end
        return (1 - share) * stats.prior + share / stats.num_classes
