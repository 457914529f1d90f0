"""ResNet-10 of the ImageNet-LT tables: the usual stem and one basic block per stage (liu2019large)."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from tailwise.core.registry import register
from tailwise.models.backbone import Backbone, Between


class ResNet10(Backbone):
    """ResNet with one basic block in each of four stages of 64, 128, 256 and 512 channels.

    Shortcuts that change the shape are 1 x 1 convolutions with batch normalisation. Convolutions of ``k x k`` pixels
    are drawn from a normal distribution with standard deviation ``sqrt(2 / (k k out_channels))``.

    Args:
        width: Multiplies the channels.

    Raises:
        ValueError: The width leaves no channel.
    """

    stackable: ClassVar[bool] = True
    layers = ("layer1", "layer2", "layer3", "layer4")

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        base = round(64 * width)
        if base < 1:
            raise ValueError(f"width must leave at least one of 64 channels, got {width}")
        self.stem = nn.Sequential(
            nn.Conv2d(3, base, 7, stride=2, padding=3, bias=False),
            nn.BatchNorm2d(base),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        self.stages = nn.Sequential(
            BasicBlock(base, base),
            _down(base, 2 * base),
            _down(2 * base, 4 * base),
            _down(4 * base, 8 * base),
        )
        self.num_features = 8 * base
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward_features(self, x: Tensor) -> Tensor:
        """``[B, 3, H, W]`` -> ``[B, 512 width, H / 32, W / 32]``, sizes rounded up."""
        return self.stages(self.stem(x))

    def forward_layers(self, x: Tensor, between: Between) -> Tensor:
        """The same, interrupted after each stage: ``layer1`` to ``layer4``."""
        x = self.stem(x)
        for name, stage in zip(self.layers, self.stages, strict=True):
            x = between(name, stage(x))
        return x


def _down(in_channels: int, channels: int) -> BasicBlock:
    shortcut = nn.Sequential(nn.Conv2d(in_channels, channels, 1, stride=2, bias=False), nn.BatchNorm2d(channels))
    return BasicBlock(in_channels, channels, stride=2, downsample=shortcut)


@register("resnet10", kind="backbones", paper="liu2019large")
def resnet10(width: float = 1.0) -> ResNet10:
    """ResNet-10 for images of about 224 x 224: the network of the ImageNet-LT tables."""
    return ResNet10(width)
