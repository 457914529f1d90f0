"""Named many- / medium- / few-shot protocols: papers draw the lines differently, so a group accuracy names its rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tailwise.core.errors import UnknownName
from tailwise.core.stats import ClassStats

#: The groups in the order in which they are always reported.
GROUPS = ("many", "medium", "few")


@dataclass(frozen=True)
class ShotProtocol:
    """One way to divide classes into many-, medium- and few-shot.

    Attributes:
        name: The key in :data:`SHOT_PROTOCOLS`.
        rule: The rule in words, ``n`` being the number of training images of a class.
        source: Where the rule is stated.
        assign: Maps class statistics to three boolean masks of shape ``[C]``: many, medium, few.
    """

    name: str
    rule: str
    source: str
    assign: Callable[[ClassStats], tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]]


def shot_groups(protocol: str, counts: Any) -> dict[str, NDArray[np.bool_]]:
    """The classes of each group.

    Args:
        protocol: A key of :data:`SHOT_PROTOCOLS`.
        counts: Training images per class in label order, shape ``[C]``.

    Returns:
        ``{"many": [C], "medium": [C], "few": [C]}``, boolean. The groups are disjoint; a group may be empty, and under
        ``fsa`` a class with exactly 20 images is in none.

    Raises:
        UnknownName: No such protocol.
        DataError: The counts are not at least two whole numbers of at least 1.
    """
    if protocol not in SHOT_PROTOCOLS:
        raise UnknownName("shot protocol", protocol, SHOT_PROTOCOLS)
    masks = SHOT_PROTOCOLS[protocol].assign(ClassStats(counts))
    return dict(zip(GROUPS, masks, strict=True))


def _oltr(stats: ClassStats) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    n = stats.counts
    return n >= 100, (n > 20) & (n < 100), n <= 20


def _kang(stats: ClassStats) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    n = stats.counts
    return n > 100, (n >= 20) & (n <= 100), n < 20


def _fsa(stats: ClassStats) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    n = stats.counts
    return n > 100, (n > 20) & (n <= 100), n < 20


def _fsa_unofficial(stats: ClassStats) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    n = stats.counts
    return n > 100, (n > 20) & (n <= 100), n <= 20


def _thirds(stats: ClassStats) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    third = stats.num_classes // 3
    return _by_rank(stats, third, third)


def _reslt(stats: ClassStats) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    third = stats.num_classes // 3
    many, medium = {100: (35, 35), 1000: (390, 445), 8142: (842, 3701)}.get(stats.num_classes, (third, third))
    return _by_rank(stats, many, medium)


def _by_rank(
    stats: ClassStats, many: int, medium: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    rank = stats.rank
    return rank < many, (rank >= many) & (rank < many + medium), rank >= many + medium


#: Name -> protocol, in the order in which they are listed. Read-only.
SHOT_PROTOCOLS: Mapping[str, ShotProtocol] = MappingProxyType(
    {
        protocol.name: protocol
        for protocol in (
            ShotProtocol(
                "oltr",
                "many: n >= 100; medium: 20 < n < 100; few: n <= 20",
                "Liu et al., Large-Scale Long-Tailed Recognition in an Open World, 2019 (text and code)",
                _oltr,
            ),
            ShotProtocol(
                "kang",
                "many: n > 100; medium: 20 <= n <= 100; few: n < 20",
                "Kang et al., Decoupling Representation and Classifier, 2020 (text and code); also the text of ResLT",
                _kang,
            ),
            ShotProtocol(
                "fsa",
                "many: n > 100; medium: 20 < n <= 100; few: n < 20; a class with n = 20 is in no group",
                "Chu et al., Feature Space Augmentation for Long-Tailed Data, 2020 (table header)",
                _fsa,
            ),
            ShotProtocol(
                "fsa_unofficial",
                "many: n > 100; medium: 20 < n <= 100; few: n <= 20",
                "the public unofficial implementation of Feature Space Augmentation",
                _fsa_unofficial,
            ),
            ShotProtocol(
                "thirds",
                "by rank of n: the largest third of the classes is many, the next third medium, the rest few "
                "(10 classes: 3 / 3 / 4)",
                "thirds by rank, as ResLT reports CIFAR-10-LT",
                _thirds,
            ),
            ShotProtocol(
                "reslt",
                "by rank of n: 3 / 3 / 4 of 10 classes, 35 / 35 / 30 of 100, 390 / 445 / 165 of 1000, "
                "842 / 3701 / 3599 of 8142, thirds of any other number",
                "Cui et al., ResLT: Residual Learning for Long-tailed Recognition, 2022 (CIFAR: text; others: code)",
                _reslt,
            ),
        )
    }
)
