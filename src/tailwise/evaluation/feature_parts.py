"""The class-specific and the class-generic part of images' features (chu2020feature, Sec. 3.2)."""

from __future__ import annotations

import torch
from torch import Tensor

from tailwise.augment.feature_masks import generic, specific
from tailwise.augment.feature_space import FeatureSpace
from tailwise.models.cam import class_activation_maps
from tailwise.models.network import Network


@torch.no_grad()
def feature_parts(network: Network, images: Tensor, labels: Tensor, spec: FeatureSpace) -> dict[str, Tensor]:
    """Means of the feature vectors inside the masks of Eq. 2 and 3, of each image's own class.

    Args:
        network: In evaluation mode.
        images: uint8 ``[B,3,H,W]``.
        labels: int64 ``[B]``.
        spec: With the thresholds.

    Returns:
        ``class-specific`` and ``class-generic``, float32 ``[B,D]``. An image whose mask is empty has zeros.

    Raises:
        TailwiseError: There are no feature maps, or no class vectors.
    """
    maps = network.maps(network.pixel(images)).float()
    cam = class_activation_maps(maps, network.head.classifier_weight, labels)
    masks = {
        "class-specific": specific(cam, spec.tau_specific),
        "class-generic": generic(cam, spec.tau_generic),
    }
    return {
        name: (maps * mask[:, None]).sum((2, 3)) / mask.sum((1, 2)).clamp_min(1)[:, None]
        for name, mask in masks.items()
    }
