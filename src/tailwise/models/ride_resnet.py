"""ResNet-50 and ResNeXt-50 with two late stages of its own for each expert (wang2021ride)."""

from __future__ import annotations

from typing import ClassVar

from torch import nn
from torchvision.models.resnet import Bottleneck

from tailwise.core.registry import register
from tailwise.models.experts import ExpertBackbone, check_channels, check_experts


class RideResNet(ExpertBackbone):
    """Stem and two stages of bottleneck blocks shared; third and fourth stage once for each expert.

    The own stages have 192 and 384 base channels instead of 256 and 512, as the authors' code has them for
    ImageNet-LT; for iNaturalist 2018 they keep the usual widths. The stride is in the 3 x 3 convolution. Convolutions
    of ``k x k`` pixels are drawn from a normal distribution with standard deviation ``sqrt(2 / (k k out_channels))``.

    Args:
        width: Multiplies the channels.
        experts: ``E``.
        reduced: Whether the own stages are narrower.
        groups: Of the 3 x 3 convolutions.
        group_width: Channels of a group in the first stage, before ``width``.

    Raises:
        ValueError: A value is out of range.
    """

    #: One such network fills a GPU. Stacked, it would be right, but 50 layers carry rounding errors far.
    stackable: ClassVar[bool] = False

    def __init__(
        self, width: float = 1.0, experts: int = 3, reduced: bool = True, *, groups: int = 1, group_width: int = 64
    ) -> None:
        check_experts(experts, width)
        late = (192, 384) if reduced else (256, 512)
        one, two, three, four = (round(width * number) for number in (64, 128, *late))
        # A grouped convolution needs a channel in each group.
        check_channels([number * group_width // 64 for number in (one, two, three, four)], width)

        def stage(in_channels: int, channels: int, blocks: int, stride: int) -> nn.Sequential:
            out = channels * Bottleneck.expansion
            shortcut = nn.Sequential(nn.Conv2d(in_channels, out, 1, stride=stride, bias=False), nn.BatchNorm2d(out))
            rest = [Bottleneck(out, channels, groups=groups, base_width=group_width) for _ in range(blocks - 1)]
            first = Bottleneck(in_channels, channels, stride, shortcut, groups=groups, base_width=group_width)
            return nn.Sequential(first, *rest)

        stem = nn.Sequential(
            nn.Conv2d(3, one, 7, stride=2, padding=3, bias=False),
            nn.BatchNorm2d(one),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        super().__init__(
            [stem, stage(one, one, 3, 1), stage(4 * one, two, 4, 2)],
            [stage(4 * two, three, 6, 2) for _ in range(experts)],
            [stage(4 * three, four, 3, 2) for _ in range(experts)],
            4 * four,
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                deviation = (2.0 / (module.kernel_size[0] * module.kernel_size[1] * module.out_channels)) ** 0.5
                nn.init.normal_(module.weight, std=deviation)


@register("ride_resnet50", kind="backbones", paper="wang2021ride")
def ride_resnet50(width: float = 1.0, experts: int = 3, reduced: bool = True) -> RideResNet:
    """ResNet-50 whose third and fourth stage exist once for each expert."""
    return RideResNet(width, experts, reduced)


@register("ride_resnext50", kind="backbones", paper="wang2021ride")
def ride_resnext50(width: float = 1.0, experts: int = 3, reduced: bool = True) -> RideResNet:
    """ResNeXt-50 (32 groups of 4 channels) whose third and fourth stage exist once for each expert."""
    return RideResNet(width, experts, reduced, groups=32, group_width=4)
