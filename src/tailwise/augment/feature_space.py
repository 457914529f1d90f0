"""Feature space augmentation: tail classes' own features fused with generic ones of other classes (chu2020feature).

Legend: T tail images, F = N_a T fused samples (F of the order 1..T, 1..T, ...), D feature width, L = h w positions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from tailwise.augment.base import Draws, FeatureAug
from tailwise.augment.feature_masks import Choice, choose, drawn_positions, generic, specific
from tailwise.core.checks import between
from tailwise.core.errors import TailwiseError
from tailwise.core.registry import register
from tailwise.core.spec import frozen
from tailwise.core.types import MixedTarget, Target
from tailwise.heads.base import HeadModule
from tailwise.models.cam import class_activation_maps

TAIL, CONFUSING = "tail", "confusing"


@register("feature_space", paper="chu2020feature")
@frozen
class FeatureSpace(FeatureAug):
    r"""Fused samples for tail classes (Algorithm 1), in the place of the images of stream ``confusing``.

    The stage has streams ``tail`` and ``confusing``, the latter with :math:`N_a` images for each of the former; other
    streams stay as they are, and so does a batch without these two. A fused sample consists of as many vectors as a map
    has positions :math:`L`: :math:`\gamma L` of the tail image's class-specific positions, where its class activation
    map is at least :math:`\tau_s`, and the others of the confusing image's class-generic ones, where the map of its own
    class is at most :math:`\tau_g`. :math:`\gamma` is uniform in (0, 1). Vectors are drawn with repetition, and never
    one that is all zero. The sample has the tail image's label. A mask without a vector is replaced by the position
    nearest to it; ``fallbacks`` in the epoch's log is how often that happened in a step.

    The maps are made with the classifier that the stage began with, as the paper's text has it.

    ``layer`` ``pool`` acts right before global average pooling, where a position's place no longer matters, and gives
    pooled features. A layer of the backbone (the paper's Fig. 9) acts there and keeps places: of the confusing image's
    map the :math:`\gamma L` positions that are most specific for its own class get vectors of the tail image's specific
    positions. The class activation maps, scaled up to the layer's size, are those of the plain images when the stage
    began. The paper describes this in one sentence; which positions are replaced is our reading of it.

    What the paper leaves open: the thresholds (code of others has 0.8 and 0.2), and how :math:`\gamma L` is rounded;
    here to the nearest whole number, at least 1 and at most :math:`L - 1`.

    Args:
        tau_specific: :math:`\tau_s`, above 0 and below 1.
        tau_generic: :math:`\tau_g`, above 0 and below 1.
        layer: ``pool``, or a layer of the backbone such as ``layer3``.

    Raises:
        ValueError: A threshold is out of range, or ``layer`` is the input or the logits.
    """

    needs_classifier: ClassVar[bool] = True

    tau_specific: float = 0.5
    tau_generic: float = 0.2
    layer: str = "pool"

    def __post_init__(self) -> None:
        """Checks all values."""
        between("tau_specific (tau_s)", self.tau_specific, 0, 1)
        between("tau_generic (tau_g)", self.tau_generic, 0, 1)
        if self.layer in ("", "input", "fc"):
            raise ValueError(f"layer must be pool or a layer of the backbone, got {self.layer!r}")

    @property
    def places(self) -> tuple[str, ...]:
        """The layer, unless that is the end of the backbone."""
        return () if self.layer == "pool" else (self.layer,)

    @property
    def needs_maps(self) -> bool:
        """Inside the backbone, where the features to make maps of are not there yet."""
        return self.layer != "pool"

    def check(self, streams: Mapping[str, int], positions: int) -> None:
        """Refuses a stage without the two streams, or with batches that do not fit, and maps of one position."""
        missing = [name for name in (TAIL, CONFUSING) if name not in streams]
        if missing:
            raise TailwiseError(
                f"feature_space needs the streams {TAIL} and {CONFUSING}; the stage has {', '.join(streams)}"
            )
        if streams[CONFUSING] % streams[TAIL]:
            raise TailwiseError(
                f"feature_space fuses every image of stream {TAIL} with equally many of stream {CONFUSING}; "
                f"{streams[CONFUSING]} is no multiple of {streams[TAIL]}"
            )
        if positions < 2:
            raise TailwiseError(
                "feature_space draws from the positions of a map, and here a map has one only; take a backbone with "
                "larger maps (for small images resnet32 or resnet18_small) or larger images (--image-size)"
            )

    def draw(self, rng: np.random.Generator, steps: int, batch: int) -> Draws:
        """As :meth:`draw_for`, for maps of 16 positions."""
        return self.draw_for(rng, steps, batch, 16)

    def draw_for(self, rng: np.random.Generator, steps: int, batch: int, positions: int) -> Draws:
        r"""``count``, int64 ``[steps, batch]``, is :math:`\gamma L`; ``pick`` is uniform, ``[steps, batch, L]``.

        Every image of the batch has them, so that each process can take its columns; those of stream ``confusing`` are
        used.
        """
        gamma = rng.random((steps, batch))
        count = np.clip(np.rint(gamma * positions), 1, max(1, positions - 1)).astype(np.int64)
        return {"count": count, "pick": rng.random((steps, batch, positions), dtype=np.float32)}

    def at_place(self, place: str, x: Tensor, targets: Mapping[str, Target], row: Mapping[str, Tensor]) -> Tensor:
        """Puts vectors of the tail images into the maps of stream ``confusing``; the other rows stay."""
        rows = _rows(targets)
        if TAIL not in rows or CONFUSING not in rows:
            return x
        (first, last), (start, end) = rows[TAIL], rows[CONFUSING]
        tail, other = x[first:last], x[start:end]
        cam = functional.interpolate(row["cam"][:, None].float(), x.shape[-2:], mode="bilinear")[:, 0]
        own = cam[first:last]
        chosen = _for_each(choose(tail, specific(own, self.tau_specific), own), end - start)
        source = drawn_positions(chosen, row["pick"][start:end])
        # The place of every position in the order from the most to the least specific for the image's own class.
        rank = cam[start:end].flatten(1).argsort(dim=1, descending=True, stable=True).argsort(dim=1)
        vectors = tail.flatten(2).repeat(len(other) // len(tail), 1, 1)
        vectors = vectors.gather(2, source[:, None].expand(-1, x.shape[1], -1))
        fused = torch.where((rank < row["count"][start:end, None])[:, None], vectors, other.flatten(2))
        return torch.cat([x[:start], fused.view_as(other), x[end:]])

    def __call__(
        self, maps: Tensor, targets: Mapping[str, Target], classifier_weight: Tensor, row: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, Target]]:
        """Pooled features ``[B,D]`` with fused samples, and the tail images' labels for them."""
        return self.counted(maps, targets, classifier_weight, row)[:2]

    def counted(
        self, maps: Tensor, targets: Mapping[str, Target], classifier_weight: Tensor, row: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, Target], dict[str, Tensor]]:
        """The same, and ``fallbacks``: masks without a position, one number."""
        rows = _rows(targets)
        if TAIL not in rows or CONFUSING not in rows:
            return maps, dict(targets), {}
        (first, last), (start, end) = rows[TAIL], rows[CONFUSING]
        label, other_label = _label(targets[TAIL]), _label(targets[CONFUSING])
        changed: dict[str, Target] = {**targets, CONFUSING: label.repeat((end - start) // (last - first))}
        if self.layer != "pool":
            empty = ~specific(row["cam"][first:last], self.tau_specific).flatten(1).any(1)
            return maps, changed, {"fallbacks": empty.sum()}
        tail, other = maps[first:last], maps[start:end]
        cam, other_cam = (
            class_activation_maps(part, classifier_weight.detach(), of)
            for part, of in ((tail, label), (other, other_label))
        )
        own = choose(tail, specific(cam, self.tau_specific), cam)
        theirs = choose(other, generic(other_cam, self.tau_generic), 1 - other_cam)
        pick = row["pick"][start:end]
        # The first draws of a sample are specific, the others generic.
        is_own = torch.arange(pick.shape[1], device=pick.device) < row["count"][start:end, None]
        sums = _sums(tail, _times(drawn_positions(_for_each(own, end - start), pick), is_own))
        sums = sums + _sums(other, _times(drawn_positions(theirs, pick), ~is_own))
        fused = (sums / pick.shape[1]).to(maps.dtype)
        pooled = HeadModule.pool(maps)
        fallbacks = own.fell_back.sum() + theirs.fell_back.sum()
        return torch.cat([pooled[:start], fused, pooled[end:]]), changed, {"fallbacks": fallbacks}


def _times(places: Tensor, wanted: Tensor) -> Tensor:
    """How often each position was drawn, ``[F,L]``, counting the wanted draws only."""
    count = wanted.float()
    return torch.zeros_like(count).scatter_add(1, places, count)


def _sums(maps: Tensor, times: Tensor) -> Tensor:
    """Sums of an image's feature vectors, each so many times: ``[B,D,h,w]``, ``[F,L]`` -> ``[F,D]``.

    Sample ``f`` is made of image ``f mod B``. The numbers of times are small, so lower precision holds them exactly.
    """
    samples, size = times.shape
    weight = times.to(maps.dtype).view(-1, maps.shape[0], size).permute(1, 2, 0)
    return torch.bmm(maps.flatten(2), weight).permute(2, 0, 1).reshape(samples, maps.shape[1])


def _for_each(choice: Choice, samples: int) -> Choice:
    """The tail images' choices for every fused sample."""
    times = samples // choice.size.shape[0]
    return Choice(choice.order.repeat(times, 1), choice.size.repeat(times), choice.fell_back.repeat(times))


def _label(target: Target) -> Tensor:
    if isinstance(target, MixedTarget):
        raise ValueError("feature_space needs plain labels, and those of its streams are mixed")
    return target


def _rows(targets: Mapping[str, Target]) -> dict[str, tuple[int, int]]:
    """First and last row (exclusive) of every stream."""
    rows: dict[str, tuple[int, int]] = {}
    first = 0
    for name, target in targets.items():
        last = first + (target.first if isinstance(target, MixedTarget) else target).shape[0]
        rows[name] = (first, last)
        first = last
    return rows
