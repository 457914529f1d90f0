"""Networks whose early layers are shared and whose late stages exist once for each expert (wang2021ride, Fig. 3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from tailwise.models.backbone import Backbone, Between


class ExpertBackbone(Backbone):
    """Shared layers, then two stages of its own for each of ``E`` experts.

    The maps of all experts stand side by side along the channels, ``[B, E D, h, w]``, expert after expert; the head
    :class:`~tailwise.heads.experts.Experts` gives each expert its part.

    Args:
        shared: Modules that run one after the other, by the name of the layer they end, or ``""`` for a stem.
        first: The earlier own stage of every expert.
        second: The later own stage of every expert.
        num_features: Width ``D`` of one expert.
    """

    stackable: ClassVar[bool] = True

    #: Number of networks whose channels lie one after the other.
    stack: int = 1

    def __init__(
        self, shared: Sequence[nn.Module], first: Sequence[nn.Module], second: Sequence[nn.Module], num_features: int
    ) -> None:
        super().__init__()
        self.shared = nn.ModuleList(shared)
        self.first, self.second = nn.ModuleList(first), nn.ModuleList(second)
        self.num_experts = len(first)
        self.num_features = self.num_experts * num_features
        #: The first of the shared modules is the stem; the others and the own stages are layers.
        self.layers = tuple(f"layer{number}" for number in range(1, len(shared) + 2))

    def forward_features(self, x: Tensor) -> Tensor:
        """``[B, 3, H, W]`` -> ``[B, E D, h, w]``."""
        for module in self.shared:
            x = module(x)
        stages = zip(self.first, self.second, strict=True)
        return self._join([cast(Tensor, second(first(x))) for first, second in stages])

    def forward_layers(self, x: Tensor, between: Between) -> Tensor:
        """The same, interrupted after each layer; behind the own stages with the maps of all experts together."""
        x = self.shared[0](x)
        for name, module in zip(self.layers, list(self.shared)[1:], strict=False):
            x = between(name, module(x))
        x = between(self.layers[-2], self._join([stage(x) for stage in self.first]))
        parts = zip(self.second, self._split(x), strict=True)
        return between(self.layers[-1], self._join([stage(part) for stage, part in parts]))

    def _join(self, parts: Sequence[Tensor]) -> Tensor:
        """Channels of all experts side by side; of several stacked networks, network after network."""
        if self.stack == 1:
            return torch.cat(list(parts), dim=1)
        return torch.cat([part.unflatten(1, (self.stack, -1)) for part in parts], dim=2).flatten(1, 2)

    def _split(self, x: Tensor) -> Sequence[Tensor]:
        """The inverse of :meth:`_join`."""
        if self.stack == 1:
            return x.chunk(self.num_experts, dim=1)
        every = x.unflatten(1, (self.stack, self.num_experts, -1))
        return [every[:, :, number].flatten(1, 2) for number in range(self.num_experts)]


def check_experts(experts: int, width: float) -> None:
    """Refuses numbers of which no network follows.

    Raises:
        ValueError: Fewer than one or more than eight experts, or no positive width.
    """
    if not 1 <= experts <= 8:
        raise ValueError(f"experts must be from 1 to 8, got {experts}")
    if not width > 0:
        raise ValueError(f"width must be above 0, got {width}")


def check_channels(channels: Sequence[int], width: float) -> None:
    """Refuses a width with which a stage has no channel.

    Raises:
        ValueError: Names the width.
    """
    if min(channels) < 1:
        raise ValueError(f"width must leave at least one channel in every stage, got {width}")
