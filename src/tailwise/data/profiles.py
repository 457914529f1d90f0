"""How many images each class gets, and which: the long-tail protocol of LDAM-DRW (cao2019ldam) and relatives."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from tailwise.core.errors import DataError, UnknownName
from tailwise.data.index import LongTailIndex, Pool

#: Shape of the Pareto law that OLTR names for ImageNet-LT.
PARETO_ALPHA = 6.0


def exponential(num_classes: int, max_count: int, imbalance_factor: float) -> list[int]:
    r""":math:`n_k = \lfloor n_{max} (1/\mathrm{IF})^{k/(C-1)} \rfloor` in float64 (Cui et al. 2019; LDAM-DRW)."""
    steps = max(num_classes - 1, 1)
    return [int(max_count * (1.0 / imbalance_factor) ** (k / steps)) for k in range(num_classes)]


def step(num_classes: int, max_count: int, imbalance_factor: float) -> list[int]:
    r"""The first ``C // 2`` classes keep :math:`n_{max}`, the rest get :math:`\lfloor n_{max}/\mathrm{IF} \rfloor`.

    As in LDAM-DRW. A single class keeps all its images.
    """
    large = max(num_classes // 2, 1)
    return [max_count] * large + [int(max_count / imbalance_factor)] * (num_classes - large)


def pareto(num_classes: int, max_count: int, imbalance_factor: float) -> list[int]:
    r"""The density of a Pareto law at evenly spaced points.

    :math:`n_k = \lfloor n_{max} x_k^{-(\alpha+1)} \rfloor` with
    :math:`x_k = 1 + \frac{k}{C-1} (\mathrm{IF}^{1/(\alpha+1)} - 1)` and :math:`\alpha = 6`.

    Deviation: OLTR (liu2019large) drew the counts of ImageNet-LT at random from a Pareto law with alpha 6. This is a
    deterministic relative with exact end points, not that set of counts.
    """
    steps, power = max(num_classes - 1, 1), PARETO_ALPHA + 1.0
    reach = imbalance_factor ** (1.0 / power) - 1.0
    return [int(max_count * (1.0 + k / steps * reach) ** -power) for k in range(num_classes)]


PROFILES: Mapping[str, Callable[[int, int, float], list[int]]] = MappingProxyType(
    {"exponential": exponential, "step": step, "pareto": pareto}
)


def class_profile(name: str, num_classes: int, max_count: int, imbalance_factor: float) -> NDArray[np.int64]:
    """Images per class from the largest to the smallest.

    Args:
        name: ``"exponential"``, ``"step"`` or ``"pareto"``.
        num_classes: Number of classes ``C``, 1 or more.
        max_count: Images of the largest class.
        imbalance_factor: ``n_max / n_min``, 1 or more; the realised ratio can be larger because counts are truncated.

    Returns:
        Shape ``[C]``, descending, every count at least 1.

    Raises:
        UnknownName: No such profile.
        DataError: A factor below 1 or not a number, or one so large that a class would have no images.
    """
    if name not in PROFILES:
        raise UnknownName("class profile", name, PROFILES)
    if num_classes < 1 or max_count < 1:
        raise DataError(f"a profile needs a class and an image, got {num_classes} classes of at most {max_count}")
    _check_factor(imbalance_factor)
    counts = PROFILES[name](num_classes, max_count, imbalance_factor)
    if counts[-1] < 1:
        largest = max_count
        while largest > 1 and PROFILES[name](num_classes, max_count, largest)[-1] < 1:
            largest -= 1
        empty = sum(count < 1 for count in counts)
        raise DataError(
            f"imbalance factor {imbalance_factor:g} leaves {empty} of {num_classes} classes without images when the "
            f"largest class has {max_count}; the largest possible factor is {largest}"
        )
    return np.array(counts, dtype=np.int64)


def select(pool_labels: NDArray[np.int64], profile: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Chooses the images of each class exactly as LDAM-DRW does.

    One legacy generator runs through the classes in ascending label order: the positions of a class are shuffled and
    the first ``profile[label]`` kept. The generator consumes the same numbers whatever the profile, so subsets of one
    pool and seed are nested over imbalance factors.

    Args:
        pool_labels: Shape ``[N]``.
        profile: Images to keep per label, shape ``[C]``.
        seed: 0 to 2**32 - 1; the published CIFAR subsets use 0.

    Returns:
        Positions in the pool, class after class in the order of selection.

    Raises:
        DataError: A class with fewer images than asked for, or a seed out of range.
    """
    if not 0 <= seed < 2**32:
        raise DataError(f"subset seed {seed} is out of range; allowed: 0 to {2**32 - 1}")
    generator = np.random.RandomState(seed)
    chosen: list[NDArray[np.int64]] = []
    for label, wanted in enumerate(profile.tolist()):
        positions = np.flatnonzero(pool_labels == label).astype(np.int64)
        if positions.size < wanted:
            raise DataError(f"class {label} has {positions.size} images, the profile needs {wanted}")
        generator.shuffle(positions)
        chosen.append(positions[:wanted])
    return np.concatenate(chosen)


def cut_long_tail(
    pool: Pool,
    imbalance_factor: float | None,
    profile: str = "exponential",
    max_per_class: int | None = None,
    seed: int = 0,
) -> LongTailIndex:
    """Cuts a long-tailed training set from a pool.

    The largest class of the pool becomes the head and so on; classes of equal size keep label order, so a balanced
    pool gives the published order (class 0 the largest).

    Args:
        pool: The training pool.
        imbalance_factor: ``n_max / n_min``. ``None`` keeps the pool's own imbalance: all images in their own order, or
            with ``max_per_class`` at most that many of each class.
        profile: See :func:`class_profile`.
        max_per_class: Images of the largest class; ``None`` takes as many as the pool's largest class has.
        seed: See :func:`select`.

    Raises:
        UnknownName: No such profile.
        DataError: A factor that cannot be reached, or a class with fewer images than the profile needs.
    """
    available = pool.counts
    if max_per_class is not None and max_per_class < 1:
        raise DataError(f"max_per_class must be 1 or more, got {max_per_class}")
    if imbalance_factor is None:
        if max_per_class is None:
            return LongTailIndex.of(pool, np.arange(len(pool), dtype=np.int64))
        return LongTailIndex.of(pool, select(pool.labels, np.minimum(available, max_per_class), seed))
    by_size = np.argsort(-available, kind="stable")
    largest = int(available.max(initial=0)) if max_per_class is None else max_per_class
    wanted = np.empty_like(available)
    wanted[by_size] = class_profile(profile, pool.num_classes, largest, imbalance_factor)
    short = np.flatnonzero(available < wanted)
    if short.size:
        label = int(short[np.argmax((wanted - available)[short])])
        raise DataError(
            f"{short.size} of {pool.num_classes} classes have too few images for a {profile} profile with imbalance "
            f"factor {imbalance_factor:g} and {largest} images in the largest class: {pool.class_names[label]!r} has "
            f"{available[label]}, needs {wanted[label]}; {_what_fits(available[by_size], profile, imbalance_factor)}"
        )
    return LongTailIndex.of(pool, select(pool.labels, wanted, seed))


def _check_factor(factor: float) -> None:
    if 0 < factor < 1:
        raise DataError(
            f"imbalance factor {factor:g} is below 1; it is the largest class over the smallest: "
            f"did you mean {1 / factor:.4g}?"
        )
    if not (math.isfinite(factor) and factor >= 1):
        raise DataError(f"imbalance factor must be a number of at least 1, got {factor:g}")


def _what_fits(descending: NDArray[np.int64], profile: str, factor: float) -> str:
    fits, too_many = 0, int(descending.max(initial=0)) + 1
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        if (np.array(PROFILES[profile](descending.size, middle, factor)) <= descending).all():
            fits = middle
        else:
            too_many = middle
    if fits and PROFILES[profile](descending.size, fits, factor)[-1] >= 1:
        return f"the largest max_per_class that fits is {fits}"
    return "no max_per_class fits; use a smaller factor, or none to keep the imbalance that the images have"
