"""A forward pass in training mode that leaves the running averages of BatchNorm alone."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage]


def aside(network: nn.Module, forward: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
    """``forward(image)``, normalised by the statistics of these images, which the running averages do not learn of.

    The averages stand for the images of the test, so images of another kind must not enter them.

    Args:
        network: Holds the BatchNorm layers.
        forward: The pass through it.
        image: ``[B,3,H,W]``.
    """
    layers = [layer for layer in network.modules() if isinstance(layer, _BatchNorm)]
    momenta = [layer.momentum for layer in layers]
    # With momentum 0 an average keeps its value. To copy the averages back would upset autograd, which has seen them.
    for layer in layers:
        layer.momentum = 0.0
    maps = forward(image)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    return maps
