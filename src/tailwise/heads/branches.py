"""What turns shared feature maps into features of several branches, as used by the head ``reslt`` (cui2022reslt).

Legend: B batch, N networks of a stack, K branches, D feature width, h w map size.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage]

#: after: transform the maps, then pool; before: pool first; official: after in training, before in evaluation.
PoolOrder = Literal["after", "before", "official"]


class BranchNorm(_BatchNorm):
    """K BatchNorm layers on the same maps, followed by global average pooling.

    All K layers see the same maps, so they have one mean and one variance, and differ by scale and shift only. An
    affine map and a mean over places can change places, so the normalised maps are never formed.

    Args:
        num_features: ``D``.
        branches: ``K``.
        specialized: Whether every branch has scale and shift of its own, or all share one.
        pooled: Whether the statistics are those of the pooled features instead of those of the maps.
    """

    running_mean: Tensor  # pyright: ignore[reportIncompatibleVariableOverride]
    running_var: Tensor  # pyright: ignore[reportIncompatibleVariableOverride]
    num_batches_tracked: Tensor  # pyright: ignore[reportIncompatibleVariableOverride]

    def __init__(self, num_features: int, branches: int, *, specialized: bool, pooled: bool) -> None:
        super().__init__(num_features, affine=False)
        self.affine, self.branches, self.pooled = True, branches, pooled
        rows = branches if specialized else 1
        self.weight = nn.Parameter(torch.ones(rows, num_features))
        self.bias = nn.Parameter(torch.zeros(rows, num_features))

    def forward(self, input: Tensor) -> Tensor:
        """Features ``[B, K, D]`` of maps ``[B, D, h, w]`` or pooled features ``[B, D]``, float32 or above."""
        return self.together([self], input.unsqueeze(1))[:, 0]

    @staticmethod
    def together(norms: Sequence[BranchNorm], maps: Tensor) -> Tensor:
        """Features ``[B, N, K, D]`` of the maps ``[B, N, D, h, w]`` or ``[B, N, D]`` of N networks in the same mode.

        Raises:
            ValueError: One value for each channel in training, from which no variance follows.
        """
        first = norms[0]
        maps = maps.to(torch.promote_types(maps.dtype, torch.float32))
        pooled = maps.mean(dim=(3, 4)) if maps.ndim == 5 else maps
        if first.training:
            mean, variance = BranchNorm._measure(norms, pooled if first.pooled else maps)
        else:
            mean = torch.stack([norm.running_mean for norm in norms])
            variance = torch.stack([norm.running_var for norm in norms])
        unit = (pooled - mean) * torch.rsqrt(variance + first.eps)
        weight = torch.stack([cast(Tensor, norm.weight) for norm in norms])
        bias = torch.stack([cast(Tensor, norm.bias) for norm in norms])
        return torch.addcmul(bias, unit.unsqueeze(2), weight).expand(-1, -1, first.branches, -1)

    @staticmethod
    def _measure(norms: Sequence[BranchNorm], values: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance ``[N, D]`` of a batch, which the running ones follow."""
        count = values.numel() // (values.shape[1] * values.shape[2])
        if count < 2:
            raise ValueError(f"expected more than 1 value per channel when training, got shape {list(values.shape)}")
        variance, mean = torch.var_mean(values, dim=[0, *range(3, values.ndim)], correction=0)
        with torch.no_grad():
            for number, norm in enumerate(norms):
                momentum = norm.momentum or 0.0
                norm.running_mean.lerp_(mean[number].detach().to(norm.running_mean.dtype), momentum)
                unbiased = variance[number].detach() * (count / (count - 1))
                norm.running_var.lerp_(unbiased.to(norm.running_var.dtype), momentum)
                norm.num_batches_tracked.add_(1)
        return mean, variance

    def affine_maps(self) -> tuple[Tensor, Tensor]:
        """Matrices ``[K, D, D]`` (diagonal) and shifts ``[K, D]`` that pooled features undergo in evaluation mode."""
        scale = cast(Tensor, self.weight) * torch.rsqrt(self.running_var + self.eps)
        shift = cast(Tensor, self.bias) - scale * self.running_mean
        return torch.diag_embed(scale).expand(self.branches, -1, -1), shift.expand(self.branches, -1)


class BranchConv(nn.Module):
    """Base of the 1x1 convolutions, one for each branch or one for all.

    Args:
        num_features: ``D``.
        branches: ``K``.
    """

    def __init__(self, num_features: int, branches: int) -> None:
        super().__init__()
        self.num_features, self.branches = num_features, branches

    @abstractmethod
    def forward(self, maps: Tensor) -> Tensor:
        """Features ``[B, K, D]`` of maps ``[B, D, h, w]`` or pooled features ``[B, D]``."""

    @abstractmethod
    def affine_maps(self) -> tuple[Tensor, Tensor]:
        """Matrices ``[K, D, D]`` and shifts ``[K, D]`` of the affine part in evaluation mode."""

    def split(self, features: Tensor) -> Tensor:
        """``[B, rows D]`` -> ``[B, K, D]``."""
        return features.unflatten(1, (-1, self.num_features)).expand(-1, self.branches, -1)


class GroupedConv(BranchConv):
    """One 1x1 convolution with K groups on K copies of the maps, then pooling; without bias, BatchNorm and rectifier.

    Every group sees all D features, so it is one convolution from D to K D features. It commutes with pooling, which
    comes first because that is cheaper.

    Args:
        num_features: ``D``.
        branches: ``K``.
        specialized: Whether every branch has its own D x D weights, or all share one.
    """

    def __init__(self, num_features: int, branches: int, *, specialized: bool) -> None:
        super().__init__(num_features, branches)
        rows = branches if specialized else 1
        self.conv = nn.Conv2d(num_features, rows * num_features, 1, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        """Features ``[B, K, D]``."""
        return self.split(F.linear(_pool(maps), self.conv.weight.flatten(1)))

    def affine_maps(self) -> tuple[Tensor, Tensor]:
        """The weights of every branch; shifts of 0."""
        matrix = self.conv.weight.view(-1, self.num_features, self.num_features).expand(self.branches, -1, -1)
        return matrix, matrix.new_zeros(self.branches, self.num_features)


class SeparateConv(BranchConv):
    """K 1x1 convolutions of their own, then pooling: the same function as :class:`GroupedConv` from K modules.

    Args:
        num_features: ``D``.
        branches: ``K``.
    """

    def __init__(self, num_features: int, branches: int) -> None:
        super().__init__(num_features, branches)
        self.convs = nn.ModuleList(nn.Conv2d(num_features, num_features, 1, bias=False) for _ in range(branches))

    def forward(self, maps: Tensor) -> Tensor:
        """Features ``[B, K, D]``."""
        pooled = _pool(maps)
        weights = [cast(nn.Conv2d, conv).weight.flatten(1) for conv in self.convs]
        return torch.stack([F.linear(pooled, weight) for weight in weights], dim=1)

    def affine_maps(self) -> tuple[Tensor, Tensor]:
        """The weights of every branch; shifts of 0."""
        matrix = torch.stack([cast(nn.Conv2d, conv).weight.flatten(1) for conv in self.convs])
        return matrix, matrix.new_zeros(self.branches, self.num_features)


class ConvBnRelu(BranchConv):
    """1x1 convolution from D to K D features, BatchNorm and rectifier, as the authors' code has it on full-size images.

    Args:
        num_features: ``D``.
        branches: ``K``.
        specialized: Whether every branch has its own D of the K D features, or all share D.
        pool: Whether pooling comes after or before; ``official`` changes the order between training and evaluation.
    """

    def __init__(self, num_features: int, branches: int, *, specialized: bool, pool: PoolOrder) -> None:
        super().__init__(num_features, branches)
        rows = branches if specialized else 1
        self.pool: PoolOrder = pool
        self.conv = nn.Conv2d(num_features, rows * num_features, 1, bias=False)
        self.bn = nn.BatchNorm2d(rows * num_features)
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, maps: Tensor) -> Tensor:
        """Features ``[B, K, D]``."""
        if self.pool == "before" or (self.pool == "official" and not self.training):
            maps = _pool(maps)
        maps = maps[:, :, None, None] if maps.ndim == 2 else maps
        return self.split(_pool(self.bn(self.conv(maps)).relu()))

    def affine_maps(self) -> tuple[Tensor, Tensor]:
        """What comes before the rectifier."""
        variance, mean = cast(Tensor, self.bn.running_var), cast(Tensor, self.bn.running_mean)
        scale = self.bn.weight * torch.rsqrt(variance + self.bn.eps)
        matrix = (scale[:, None] * self.conv.weight.flatten(1)).unflatten(0, (-1, self.num_features))
        shift = (self.bn.bias - scale * mean).unflatten(0, (-1, self.num_features))
        return matrix.expand(self.branches, -1, -1), shift.expand(self.branches, -1)


def _pool(maps: Tensor) -> Tensor:
    return maps.mean(dim=(2, 3)) if maps.ndim == 4 else maps
