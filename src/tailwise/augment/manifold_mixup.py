"""Manifold mixup: mixing what a layer of the network gives instead of the images (verma2019manifold, Sec. 2)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from tailwise.augment.base import Draws, FeatureAug
from tailwise.augment.pairing import Per, as_shares, blend, check_per, draw_pairs, partners
from tailwise.core.checks import positive
from tailwise.core.registry import register
from tailwise.core.spec import frozen
from tailwise.core.types import MixedTarget, Target
from tailwise.heads.base import HeadModule


@register(
    "manifold_mixup",
    paper="verma2019manifold",
    presets={"manifold_mixup_random": {"layer": ("input", "layer1", "layer2"), "alpha": 2.0}},
)
@frozen
class ManifoldMixup(FeatureAug):
    r"""Manifold mixup: what a layer gives is mixed, and labels with it.

    Sample :math:`i` goes on with :math:`\lambda g_k(x_i) + (1 - \lambda) g_k(x_j)`, where :math:`g_k` is the network up
    to layer :math:`k` and :math:`\lambda \sim \mathrm{Beta}(\alpha, \alpha)`. The samples of every stream are mixed
    among themselves by a random permutation; views are left as they are. With several processes each pairs the samples
    of its own share.

    Global average pooling and a linear classifier are linear, so mixing the last maps, the pooled features or the
    logits comes to the same; a cosine classifier tells the last two apart.

    Args:
        layer: ``input``, a layer of the backbone such as ``layer1``, ``pool`` (the pooled features) or ``fc`` (the
            logits). Of several, one is drawn for every step, as verma2019manifold does with the input and the first
            two layers; zhang2021bag uses one only.
        alpha: :math:`\alpha`, above 0.
        per: One :math:`\lambda` for a ``batch``, as in the code of both papers, or one for every ``sample``.

    Raises:
        ValueError: No layer or one twice, ``alpha`` is not positive or ``per`` is neither.
    """

    mixes_labels: ClassVar[bool] = True

    layer: str | tuple[str, ...] = "pool"
    alpha: float = 1.0
    per: Per = "batch"

    def __post_init__(self) -> None:
        """Checks all values."""
        if not self.layers or "" in self.layers or len(set(self.layers)) < len(self.layers):
            raise ValueError(f"layer must be one name or several different ones, got {self.layer!r}")
        positive("alpha", self.alpha)
        check_per(self.per)

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers one of which is mixed in every step."""
        return (self.layer,) if isinstance(self.layer, str) else self.layer

    @property
    def places(self) -> tuple[str, ...]:
        """The layers that lie before or after the pooled features."""
        return tuple(layer for layer in self.layers if layer != "pool")

    def draw(self, rng: np.random.Generator, steps: int, batch: int) -> Draws:
        """``order`` and ``lam`` as in mixup; and ``layer``, int64 ``[steps]``, where there are several."""
        draws = draw_pairs(rng, steps, batch, self.alpha, self.per)
        return draws if len(self.layers) == 1 else {**draws, "layer": rng.integers(0, len(self.layers), steps)}

    def at_place(self, place: str, x: Tensor, targets: Mapping[str, Target], row: Mapping[str, Tensor]) -> Tensor:
        """Mixes what stands there, or leaves it when it is another layer's turn."""
        lam = row["lam"]
        if len(self.layers) > 1:
            lam = torch.where(row["layer"] == self.layers.index(place), lam, 1.0)
        groups = [partners(row["order"][start:end]) + start for _, start, end in _streams(targets, row)]
        partner = torch.cat(groups)
        mixed = blend(x[: partner.shape[0]], partner, lam)
        return mixed if mixed.shape == x.shape else torch.cat([mixed, x[partner.shape[0] :]])

    def __call__(
        self, maps: Tensor, targets: Mapping[str, Target], classifier_weight: Tensor, row: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, Target]]:
        """The maps, pooled and mixed when that is the layer; and the mixed targets.

        Raises:
            ValueError: The labels of a stream are mixed already.
        """
        if "pool" in self.layers:
            maps = self.at_place("pool", HeadModule.pool(maps), targets, row)
        mixed = dict(targets)
        for name, start, end in _streams(targets, row):
            label = targets[name]
            if isinstance(label, MixedTarget):
                raise ValueError(f"the labels of stream {name!r} are mixed already")
            lam = row["lam"] if self.per == "batch" else row["lam"][start:end]
            mixed[name] = MixedTarget(label, label[partners(row["order"][start:end])], as_shares(lam, label))
        return maps, mixed


def _streams(targets: Mapping[str, Target], row: Mapping[str, Tensor]) -> Iterator[tuple[str, int, int]]:
    """Name, first and last row (exclusive) of the streams; views, which come after them, have no draws."""
    start = 0
    for name, target in targets.items():
        if start >= row["order"].shape[0]:
            return
        end = start + (target.first if isinstance(target, MixedTarget) else target).shape[0]
        yield name, start, end
        start = end
