"""A network with layers that the library's own networks do not have."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from tailwise.models import Backbone


class Layers(Backbone):
    """Biases, groups, BatchNorm without weights or statistics."""

    stackable: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__()
        self.num_features = 6
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, padding_mode="reflect"), nn.SiLU(), nn.AvgPool2d(2))
        self.deep = nn.Sequential(
            nn.Conv2d(8, 8, 3, groups=8, padding=1), nn.BatchNorm2d(8, affine=False), nn.LeakyReLU(0.1, inplace=True)
        )
        self.last = nn.Sequential(
            nn.Conv2d(8, 6, 1), nn.BatchNorm2d(6, track_running_stats=False), nn.Identity(), nn.Sequential()
        )

    def forward_features(self, x: Tensor) -> Tensor:
        return self.last(self.deep(self.stem(x)))
