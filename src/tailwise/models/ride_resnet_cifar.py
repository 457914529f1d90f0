"""ResNet-20 and -32 for small images with two late stages of its own for each expert (wang2021ride)."""

from __future__ import annotations

from torch import nn

from tailwise.core.registry import register
from tailwise.models.experts import ExpertBackbone, check_channels, check_experts
from tailwise.models.resnet_cifar import BasicBlock


class RideResNetCifar(ExpertBackbone):
    """Stem and first stage shared; second and third stage once for each expert, option-A shortcuts.

    Stages have 16, 24 and 48 channels, as the authors' code has them with reduced widths, or 16, 32 and 64.
    Convolutions are drawn from He's normal distribution by fan-in.

    Args:
        depth: 6 n + 2, head included.
        width: Multiplies the channels.
        experts: ``E``.
        reduced: Whether the own stages are narrower.

    Raises:
        ValueError: A value is out of range.
    """

    def __init__(self, depth: int, width: float = 1.0, experts: int = 3, reduced: bool = True) -> None:
        check_experts(experts, width)
        base, middle, last = (round(width * number) for number in ((16, 24, 48) if reduced else (16, 32, 64)))
        check_channels((base, middle, last), width)
        blocks = (depth - 2) // 6
        stem = nn.Sequential(nn.Conv2d(3, base, 3, padding=1, bias=False), nn.BatchNorm2d(base), nn.ReLU(inplace=True))
        super().__init__(
            [stem, _stage(base, base, blocks, 1)],
            [_stage(base, middle, blocks, 2) for _ in range(experts)],
            [_stage(middle, last, blocks, 2) for _ in range(experts)],
            last,
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)


def _stage(in_channels: int, channels: int, blocks: int, stride: int) -> nn.Sequential:
    first = BasicBlock(in_channels, channels, stride)
    return nn.Sequential(first, *(BasicBlock(channels, channels, 1) for _ in range(blocks - 1)))


@register("ride_resnet20", kind="backbones", paper="wang2021ride")
def ride_resnet20(width: float = 1.0, experts: int = 3, reduced: bool = True) -> RideResNetCifar:
    """ResNet-20 for small images whose second and third stage exist once for each expert."""
    return RideResNetCifar(20, width, experts, reduced)


@register("ride_resnet32", kind="backbones", paper="wang2021ride")
def ride_resnet32(width: float = 1.0, experts: int = 3, reduced: bool = True) -> RideResNetCifar:
    """ResNet-32 for 32 x 32 images whose second and third stage exist once for each expert."""
    return RideResNetCifar(32, width, experts, reduced)
