"""Pixels to logits: the part of a task that is evaluated, averaged, saved and exported."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from tailwise.augment.pixel import Pixel
from tailwise.heads.base import HeadModule


class Network(nn.Module):
    """Normalisation, backbone and head. Its state dict has the prefixes ``backbone.`` and ``head.`` only.

    Args:
        pixel: uint8 to normalised float.
        backbone: With ``forward_features`` and ``num_features``.
        head: Built for the backbone's width.
    """

    def __init__(self, pixel: Pixel, backbone: nn.Module, head: HeadModule) -> None:
        super().__init__()
        self.pixel, self.backbone, self.head = pixel, backbone, head
        #: Parameters that a backbone froze when it was built because nothing reads them; no stage trains them.
        self.unused = frozenset(name for name, item in self.named_parameters() if not item.requires_grad)

    def maps(self, x: Tensor) -> Tensor:
        """Feature maps ``[B,D,h,w]`` of normalised images ``[B,3,H,W]``."""
        return cast(Tensor, self.backbone.forward_features(x))  # pyright: ignore[reportCallIssue]

    def for_inference(self) -> Network:
        """The network without heads that only training needs, on the same parameters; itself where there are none."""
        head = self.head.for_inference()
        return self if head is self.head else Network(self.pixel, self.backbone, head).train(self.training)

    def forward(self, image: Tensor) -> Tensor:
        """Test-time logits ``[B,C]`` in float32 of uint8 images ``[B,3,H,W]``."""
        return self.head.predict(self.head(self.maps(self.pixel(image)))).float()
