"""ResNet-20, -32 and -44 for 32 x 32 images with parameter-free shortcuts (he2016deep, Sec. 4.2, option A)."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from tailwise.core.registry import register
from tailwise.models.backbone import Backbone, Between


def shortcut_a(x: Tensor, channels: int, stride: int, stack: int = 1) -> Tensor:
    """Every ``stride``-th pixel in both directions, and zero channels added equally before and after the old ones.

    Args:
        x: Shape ``[B, D, H, W]``.
        channels: Channels of the result, at least ``D``.
        stride: 1 or more.
        stack: Number of networks whose channels lie one after the other in ``x``; the zeros go around each one's.
            Divides ``D`` and ``channels``.

    Returns:
        Shape ``[B, channels, ceil(H / stride), ceil(W / stride)]``.
    """
    extra = (channels - x.shape[1]) // stack
    before, after = extra // 2, extra - extra // 2
    x = x[:, :, ::stride, ::stride]
    if stack == 1:
        return F.pad(x, (0, 0, 0, 0, before, after))
    # Channels as the last axis: padding a five-dimensional tensor otherwise forgets the channels-last layout.
    per_network = x.movedim(1, -1).unflatten(-1, (stack, x.shape[1] // stack))
    return F.pad(per_network, (before, after)).flatten(-2).movedim(-1, 1)


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions with batch normalisation, added to an option-A shortcut.

    Args:
        in_channels: Channels of the input.
        channels: Channels of the output.
        stride: Stride of the first convolution and of the shortcut.
    """

    #: Number of networks whose channels lie one after the other.
    stack: int = 1

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.changes_shape = stride != 1 or in_channels != channels
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """``[B, in_channels, H, W]`` -> ``[B, channels, H / stride, W / stride]``."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return F.relu(y + (shortcut_a(x, y.shape[1], self.stride, self.stack) if self.changes_shape else x))


class ResNetCifar(Backbone):
    """A 3 x 3 convolution and three stages of basic blocks with 16, 32 and 64 channels; no pooling in between.

    Convolutions are drawn from He's normal distribution by fan-in, as the LDAM family does. With a ten-class linear
    head the depths 20, 32 and 44 have 0.27, 0.46 and 0.66 million parameters.

    Args:
        depth: Number of layers with weights, head included: 6 n + 2.
        width: Multiplies the channels.

    Raises:
        ValueError: Another depth, or a width that leaves no channel.
    """

    stackable: ClassVar[bool] = True
    layers = ("layer1", "layer2", "layer3")

    def __init__(self, depth: int, width: float = 1.0) -> None:
        super().__init__()
        if depth < 8 or (depth - 2) % 6:
            raise ValueError(f"depth must be 6 n + 2 with n of at least 1, got {depth}")
        base = round(16 * width)
        if base < 1:
            raise ValueError(f"width must leave at least one of 16 channels, got {width}")
        self.conv1 = nn.Conv2d(3, base, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(base)
        blocks = (depth - 2) // 6
        self.stage1 = _stage(base, base, blocks, stride=1)
        self.stage2 = _stage(base, 2 * base, blocks, stride=2)
        self.stage3 = _stage(2 * base, 4 * base, blocks, stride=2)
        self.num_features = 4 * base
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def forward_features(self, x: Tensor) -> Tensor:
        """``[B, 3, H, W]`` -> ``[B, 64 width, H / 4, W / 4]``, sizes rounded up."""
        x = F.relu(self.bn1(self.conv1(x)))
        return self.stage3(self.stage2(self.stage1(x)))

    def forward_layers(self, x: Tensor, between: Between) -> Tensor:
        """The same, interrupted after each stage: ``layer1`` to ``layer3``."""
        x = F.relu(self.bn1(self.conv1(x)))
        for name, stage in zip(self.layers, (self.stage1, self.stage2, self.stage3), strict=True):
            x = between(name, stage(x))
        return x


def _stage(in_channels: int, channels: int, blocks: int, stride: int) -> nn.Sequential:
    first = BasicBlock(in_channels, channels, stride)
    return nn.Sequential(first, *(BasicBlock(channels, channels, 1) for _ in range(blocks - 1)))


@register("resnet20", kind="backbones", paper="he2016deep")
def resnet20(width: float = 1.0) -> ResNetCifar:
    """ResNet-20 for 32 x 32 images, option-A shortcuts."""
    return ResNetCifar(20, width)


@register("resnet32", kind="backbones", paper="he2016deep")
def resnet32(width: float = 1.0) -> ResNetCifar:
    """ResNet-32 for 32 x 32 images, option-A shortcuts: the network of the CIFAR-LT tables."""
    return ResNetCifar(32, width)


@register("resnet44", kind="backbones", paper="he2016deep")
def resnet44(width: float = 1.0) -> ResNetCifar:
    """ResNet-44 for 32 x 32 images, option-A shortcuts."""
    return ResNetCifar(44, width)
