"""ResNet-18 and -34 for small images: a 3 x 3 stem and no pooling before the blocks (he2016deep, Table 1)."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from tailwise.core.registry import register
from tailwise.models.backbone import Backbone, Between


class ResNetSmall(Backbone):
    """The ImageNet network of 64, 128, 256 and 512 channels with the stem that is usual for CIFAR.

    The stem is a 3 x 3 convolution of stride 1, without max-pooling, so 32 x 32 images give maps of 4 x 4. The paper of
    chu2020feature prints ResNet-18 and -34 and does not say which stem; with that of ImageNet the map would be a single
    position, from which no class activation map could be made. Shortcuts that change the shape are 1 x 1 convolutions
    with batch normalisation; initialisation as in :class:`~tailwise.models.resnet10.ResNet10`.

    ResNet-34 is not declared stackable. Stacked, it computes the same in float64; in float32 its gradients amplify
    rounding so much that two ways of computing them cannot be told from a mistake.

    Args:
        blocks: Basic blocks of each of the four layers.
        width: Multiplies the channels.

    Raises:
        ValueError: The width leaves no channel.
    """

    layers = ("layer1", "layer2", "layer3", "layer4")

    def __init__(self, blocks: tuple[int, int, int, int], width: float = 1.0) -> None:
        super().__init__()
        base = round(64 * width)
        if base < 1:
            raise ValueError(f"width must leave at least one of 64 channels, got {width}")
        self.stem = nn.Sequential(nn.Conv2d(3, base, 3, padding=1, bias=False), nn.BatchNorm2d(base), nn.ReLU())
        self.layer1 = _layer(base, base, blocks[0], stride=1)
        self.layer2 = _layer(base, 2 * base, blocks[1], stride=2)
        self.layer3 = _layer(2 * base, 4 * base, blocks[2], stride=2)
        self.layer4 = _layer(4 * base, 8 * base, blocks[3], stride=2)
        self.num_features = 8 * base
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward_features(self, x: Tensor) -> Tensor:
        """``[B, 3, H, W]`` -> ``[B, 512 width, H / 8, W / 8]``, sizes rounded up."""
        return self.layer4(self.layer3(self.layer2(self.layer1(self.stem(x)))))

    def forward_layers(self, x: Tensor, between: Between) -> Tensor:
        """The same, interrupted after each layer: ``layer1`` to ``layer4``."""
        x = self.stem(x)
        for name, layer in zip(self.layers, (self.layer1, self.layer2, self.layer3, self.layer4), strict=True):
            x = between(name, layer(x))
        return x


class ResNet18Small(ResNetSmall):
    """Two blocks in each layer, and several of these networks can be computed as one.

    Args:
        width: Multiplies the channels.
    """

    stackable: ClassVar[bool] = True

    def __init__(self, width: float = 1.0) -> None:
        super().__init__((2, 2, 2, 2), width)


def _layer(in_channels: int, channels: int, blocks: int, stride: int) -> nn.Sequential:
    shortcut = None
    if stride != 1 or in_channels != channels:
        shortcut = nn.Sequential(
            nn.Conv2d(in_channels, channels, 1, stride=stride, bias=False), nn.BatchNorm2d(channels)
        )
    first = BasicBlock(in_channels, channels, stride, shortcut)
    return nn.Sequential(first, *(BasicBlock(channels, channels) for _ in range(blocks - 1)))


@register("resnet18_small", kind="backbones", paper="he2016deep")
def resnet18_small(width: float = 1.0) -> ResNet18Small:
    """ResNet-18 with a 3 x 3 stem for small images: the network of the CIFAR tables of feature space augmentation."""
    return ResNet18Small(width)


@register("resnet34_small", kind="backbones", paper="he2016deep")
def resnet34_small(width: float = 1.0) -> ResNetSmall:
    """ResNet-34 with a 3 x 3 stem for small images."""
    return ResNetSmall((3, 4, 6, 3), width)
