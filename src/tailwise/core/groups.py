"""Groups of classes from the class counts alone, largest classes first (cui2022reslt, Sec. 3.1)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tailwise.core.errors import DataError
from tailwise.core.spec import frozen
from tailwise.core.stats import ClassStats

#: Number of classes -> the cut points of the authors' code, in ranks from the largest class: CIFAR-10-LT, CIFAR-100-LT,
#: ImageNet-LT (the 825 and the 220 rarest classes) and iNaturalist 2018 (the 6600 rarest).
OFFICIAL_CUTS: Mapping[int, tuple[int, ...]] = MappingProxyType(
    {10: (2, 4), 100: (35, 70), 1000: (175, 780), 8142: (1542,)}
)


@frozen
class Groups:
    r"""How classes are divided into groups by their number of training images; labels are never renumbered.

    Sec. 3.1 sorts the classes and wants the same imbalance factor in every group. The class sizes rarely allow exactly
    that, so ``imbalance`` cuts the range of the counts at equal ratios: class :math:`c` is in group
    :math:`\lfloor K \log(n_{max} / n_c) / \log(n_{max} / n_{min}) \rfloor` (the smallest class in the last one), and no
    group has a larger factor than :math:`(n_{max} / n_{min})^{1/K}`.

    Raises:
        ValueError: Thresholds that do not descend from numbers of at least 1, or cut points that do not fit the rule.
    """

    rule: Literal["rank", "imbalance", "counts", "cuts", "official"] = "rank"
    """By rank: equally many classes each, the rest in the last group; imbalance: equal ratios of counts; counts: by
    `thresholds`; cuts: by `cuts`; official: the cuts of the authors' code for 10, 100, 1000 and 8142 classes, rank for
    any other number of classes or groups."""
    thresholds: tuple[int, ...] = (100, 19)
    """A class is in the first group whose threshold it exceeds; (100, 19): above 100, 20 to 100, below 20."""
    cuts: tuple[int, ...] = ()
    """Where groups begin, in ranks from the largest class (0); a negative number counts from the smallest, so
    (-825, -220) makes the 220 rarest classes the last group."""

    def __post_init__(self) -> None:
        """Checks what does not depend on the data."""
        if list(self.thresholds) != sorted(set(self.thresholds), reverse=True) or min(self.thresholds, default=0) < 1:
            raise ValueError(f"thresholds must descend and be at least 1, got {self.thresholds}")
        if self.rule == "cuts" and not self.cuts:
            raise ValueError("groups.rule=cuts needs cut points, for example groups.cuts=(3, 6)")
        if self.rule != "cuts" and self.cuts:
            raise ValueError(f"cut points {self.cuts} are not used by groups.rule={self.rule}; give groups.rule=cuts")

    def assign(self, stats: ClassStats, number: int) -> NDArray[np.int64]:
        """The group of every class, int64 ``[C]`` in label order, 0 for the group of the largest classes.

        Equal counts keep label order where a cut runs between them (``rank``, ``cuts``, ``official``).

        Args:
            stats: The class counts.
            number: How many groups, at least 2.

        Raises:
            DataError: Fewer classes than groups; all counts equal, so that nothing but explicit cut points tells groups
                apart; another number of thresholds or cut points than the groups need; or a group without classes.
        """
        self._check(stats, number)
        counts, rank = stats.counts, stats.rank
        if self.rule == "counts":
            group = sum((counts <= threshold).astype(np.int64) for threshold in self.thresholds)
        elif self.rule == "imbalance":
            share = np.log(counts.max() / counts) / np.log(counts.max() / counts.min())
            # A class that lies on a boundary belongs to the rarer side whatever the logarithms round to.
            group = np.minimum(np.floor(number * share + 1e-9), number - 1).astype(np.int64)
        else:
            group = np.searchsorted(np.array(self._cuts(stats.num_classes, number)), rank, side="right")
        found = np.asarray(group, dtype=np.int64)
        sizes = np.bincount(found, minlength=number)
        if (sizes == 0).any():
            raise DataError(
                f"groups by {self.rule} leave branch {int(np.flatnonzero(sizes == 0)[0])} without classes (classes in "
                f"the groups: {', '.join(map(str, sizes))}); use fewer branches, groups.rule=rank or explicit cuts"
            )
        return found

    def _check(self, stats: ClassStats, number: int) -> None:
        classes = stats.num_classes
        if classes < number:
            raise DataError(f"{number} branches need at least {number} classes, the data have {classes}")
        if self.rule != "cuts" and stats.imbalance_factor == 1:
            third = tuple(classes * step // number for step in range(1, number))
            raise DataError(
                f"all {classes} classes have {stats.counts[0]} training images, so groups by {self.rule} are "
                f"undefined; give cut points in ranks: groups.rule=cuts groups.cuts={third}"
            )
        given = {"counts": ("thresholds", self.thresholds), "cuts": ("cut points", self.cuts)}.get(self.rule)
        if given is not None and len(given[1]) != number - 1:
            raise DataError(f"{number} branches need {number - 1} {given[0]}, got {given[1]}")

    def _cuts(self, classes: int, number: int) -> tuple[int, ...]:
        """Ranks at which groups 1, 2, ... begin."""
        official = OFFICIAL_CUTS.get(classes, ())
        if self.rule == "official" and len(official) == number - 1:
            return official
        if self.rule != "cuts":
            return tuple(classes // number * step for step in range(1, number))
        cuts = tuple(cut if cut >= 0 else classes + cut for cut in self.cuts)
        if list(cuts) != sorted(set(cuts)) or cuts[0] < 1 or cuts[-1] >= classes:
            raise DataError(
                f"cut points {self.cuts} must ascend and lie from 1 to {classes - 1}, one less than the classes "
                "(negative ones count from the smallest class)"
            )
        return cuts
