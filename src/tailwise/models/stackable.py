"""Which networks can be computed as one, and the reason for those that cannot."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from torch import Tensor, nn

from tailwise.models.backbone import Backbone

#: Layers with tensors that the stack can widen. Subclasses may compute something else, so types are exact.
_WIDENED = (nn.Conv2d, nn.BatchNorm2d)
#: Layers without tensors that treat channels apart from each other.
_CHANNELWISE = (
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveMaxPool2d,
    nn.AvgPool2d,
    nn.GELU,
    nn.Hardswish,
    nn.Identity,
    nn.LeakyReLU,
    nn.MaxPool2d,
    nn.ReLU,
    nn.ReLU6,
    nn.Sequential,
    nn.SiLU,
)


def stackable(backbone: nn.Module) -> bool:
    """Whether networks like this one can be computed as one :class:`tailwise.models.stacked.StackedBackbone`."""
    return why_not_stackable([backbone]) is None


def why_not_stackable(backbones: Sequence[nn.Module]) -> str | None:
    """The reason why these networks cannot be computed as one, in words, or None when they can."""
    if not backbones:
        return "there is no network"
    if len({id(backbone) for backbone in backbones}) < len(backbones):
        return "one network is given twice"
    for backbone in backbones:
        if not (isinstance(backbone, Backbone) and backbone.stackable):
            return f"{type(backbone).__name__} does not declare that it can be stacked"
    reasons = itertools.chain(
        (_of_layer(name, layer) for name, layer in backbones[0].named_modules()),
        (_of_two(backbones[0], other) for other in backbones[1:]),
    )
    return next((reason for reason in reasons if reason is not None), None)


def _of_layer(name: str, layer: nn.Module) -> str | None:
    where, kind = f"layer {name!r}" if name else "the network", type(layer).__name__
    if type(layer) in _WIDENED:
        if isinstance(layer, nn.BatchNorm2d) and layer.momentum is None:
            return f"{where} (BatchNorm2d) averages over all batches, which needs a count inside the layer"
        return None
    if _tensors(layer):
        return f"{where} ({kind}) has parameters or buffers of its own"
    if not list(layer.children()) and type(layer) not in _CHANNELWISE:
        return f"{where} is a {kind}, which is not known to treat channels apart from each other"
    return None


def _of_two(first: nn.Module, other: nn.Module) -> str | None:
    layers, twins = dict(first.named_modules()), dict(other.named_modules())
    odd = sorted(set(layers) ^ set(twins))
    if odd:
        return f"the networks have different architectures (only some have the layer {odd[0]!r})"
    for name, layer in layers.items():
        twin = twins[name]
        where = f"layer {name!r}" if name else "the network"
        one, two = (f"{type(item).__name__}({item.extra_repr()})" for item in (layer, twin))
        if type(layer) is not type(twin) or one != two:
            return f"the networks have different architectures ({where} is {one} in one and {two} in another)"
        for left, right in zip(_tensors(layer), _tensors(twin), strict=True):
            if (left.dtype, left.device) != (right.dtype, right.device):
                return (
                    "the networks differ in data type or device "
                    f"({where}: {left.dtype} on {left.device}, {right.dtype} on {right.device})"
                )
        if isinstance(layer, nn.BatchNorm2d) and layer.training != twin.training:
            return f"{where} (BatchNorm2d) is in training mode in some of the networks only"
    return None


def _tensors(layer: nn.Module) -> list[Tensor]:
    return [*layer.parameters(recurse=False), *layer.buffers(recurse=False)]
