"""Eq. 1 to 3 and Algorithm 1 of chu2020feature, one image and one draw after the other in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def activation(maps: Array, weight: Array) -> Array:
    """Eq. 1 and min-max over the image: ``[D,h,w]``, ``[D]`` -> ``[h,w]``."""
    depth, height, width = maps.shape
    cam = np.zeros((height, width))
    for y in range(height):
        for x in range(width):
            for k in range(depth):
                cam[y, x] += weight[k] * maps[k, y, x]
    spread = cam.max() - cam.min()
    return (cam - cam.min()) / spread if spread > 0 else np.zeros_like(cam)


def vectors(maps: Array, cam: Array, wanted: Any, extreme: Any) -> tuple[list[Array], bool]:
    """Feature vectors in a mask that are not all zero, row by row; the extreme position's when there are none."""
    height, width = cam.shape
    places = [(y, x) for y in range(height) for x in range(width)]
    filled = [place for place in places if np.any(maps[:, place[0], place[1]] != 0)]
    inside = [place for place in filled if wanted(cam[place])]
    fell_back = not inside
    if fell_back:
        best = filled or places
        inside = [next(place for place in best if cam[place] == extreme(cam[other] for other in best))]
    return [maps[:, y, x] for y, x in inside], fell_back


def fused(
    tail: Array, other: Array, weights: tuple[Array, Array], taus: tuple[float, float], count: int, picks: Array
) -> tuple[Array, int]:
    """One sample of Algorithm 1, pooled: ``count`` specific draws, then generic ones; and how many masks were empty."""
    own, fell_own = vectors(tail, activation(tail, weights[0]), lambda value: value >= taus[0], max)
    theirs, fell_theirs = vectors(other, activation(other, weights[1]), lambda value: value <= taus[1], min)
    drawn: list[Array] = []
    for place, pick in enumerate(picks):
        pool = own if place < count else theirs
        drawn.append(pool[int(pick * len(pool))])
    return np.mean(drawn, axis=0), int(fell_own) + int(fell_theirs)


def replaced(tail: Array, other: Array, cams: tuple[Array, Array], tau: float, count: int, picks: Array) -> Array:
    """Fusion inside the network: the most specific positions of ``other`` get vectors of ``tail``'s specific ones."""
    own, _ = vectors(tail, cams[0], lambda value: value >= tau, max)
    _, _, width = other.shape
    order = sorted(range(other[0].size), key=lambda place: -cams[1].flat[place])
    result = other.copy()
    for place in order[:count]:
        result[:, place // width, place % width] = own[int(picks[place] * len(own))]
    return result
