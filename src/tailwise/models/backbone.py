"""What a backbone is, and building one by name: the library's own networks first, then any model of timm."""

from __future__ import annotations

import difflib
import inspect
import typing
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

from torch import Tensor, nn

from tailwise.core.errors import TailwiseError, UnknownName
from tailwise.core.registry import REGISTRY

#: From the name of a layer and what it returned (``B`` first) to what the next layer gets, of the same shape.
Between = Callable[[str, Tensor], Tensor]


class Backbone(nn.Module, ABC):
    """Base of the networks: batch ``B``, image size ``H x W``, feature width ``D``, map size ``h x w``."""

    #: Feature width ``D`` of the maps.
    num_features: int

    #: Experts whose maps stand side by side along the channels.
    num_experts: int = 1

    #: Names of the layers, first to last, after which :meth:`forward_layers` can be interrupted.
    layers: tuple[str, ...] = ()

    #: Whether the forward pass treats channels only through the layers that :mod:`tailwise.models.stacked` widens, so
    #: that several networks can be computed as one. A layer with a forward pass of its own that depends on which
    #: channel is which has an attribute ``stack``, the number of networks.
    stackable: ClassVar[bool] = False

    @abstractmethod
    def forward_features(self, x: Tensor) -> Tensor:
        """Feature maps ``[B, D, h, w]`` of images ``[B, 3, H, W]``."""

    def forward_layers(self, x: Tensor, between: Between) -> Tensor:
        """The same as :meth:`forward_features`, with a call of ``between`` after each of the :attr:`layers`.

        Args:
            x: Images ``[B, 3, H, W]``.
            between: Gets the name of the layer and its maps; the next layer goes on with what it returns.

        Returns:
            Maps ``[B, D, h, w]``.

        Raises:
            TailwiseError: The network names no layers.
        """
        raise TailwiseError(f"{type(self).__name__} has no layers to act between")

    def forward(self, x: Tensor) -> Tensor:
        """The same as :meth:`forward_features`."""
        return self.forward_features(x)


def backbone_names() -> list[str]:
    """The library's own networks; :func:`build_backbone` takes any name of ``timm.list_models()`` as well."""
    return REGISTRY.names("backbones")


def check_backbone(name: str) -> None:
    """Refuses a name that :func:`build_backbone` does not know, without building anything.

    Raises:
        UnknownName: Neither an own network nor one of timm's.
    """
    try:
        REGISTRY.find("backbones", name)
    except UnknownName:
        # timm takes seconds to import; the library's own networks do not need it.
        import timm

        if not timm.is_model(name):
            raise _UnknownBackbone(name, timm.list_models()) from None


def build_backbone(
    name: str,
    *,
    width: float = 1.0,
    pretrained: bool = False,
    weights: str | None = None,
    image_size: int | None = None,
    experts: int | None = None,
    reduced: bool = True,
) -> nn.Module:
    """A new network with ``forward_features`` and ``num_features``.

    Args:
        name: One of :func:`backbone_names` or a model of timm, with or without a tag (``"resnet18.a1_in1k"``).
        width: Multiplies the channels of the library's own networks.
        pretrained: Fetch timm's published weights from the hub.
        weights: A local file of weights for a timm model, instead of the hub.
        image_size: Side of the square images in pixels; needed by models with a fixed number of patches.
        experts: Number of experts of a network that has some; None: the network's own default.
        reduced: Whether the experts' own stages are narrower.

    Raises:
        UnknownName: Neither an own network nor one of timm's.
        TailwiseError: The network exists but not with these options.
    """
    try:
        entry = REGISTRY.find("backbones", name)
    except UnknownName:
        entry = None
    if entry is not None:
        if pretrained or weights is not None:
            raise TailwiseError(
                f"backbone {entry.name!r} has no pretrained weights; train it from scratch, or take a timm model such "
                "as 'resnet18'"
            )
        own = _expert_options(entry.name, entry.target, experts, reduced)
        try:
            return typing.cast(nn.Module, entry.target(width=width, **own))
        except ValueError as error:
            raise TailwiseError(f"backbone {entry.name!r}: {error}") from error

    check_backbone(name)
    if width != 1.0:
        raise TailwiseError(
            f"backbone {name!r} is a timm model, whose width is fixed; got width={width}. "
            f"A width can be given to {', '.join(backbone_names())}"
        )
    _expert_options(name, None, experts, reduced)
    from tailwise.models.timm_backbone import TimmBackbone

    return TimmBackbone(name, pretrained=pretrained, weights=weights, image_size=image_size)


def _expert_options(
    name: str, build: Callable[..., object] | None, experts: int | None, reduced: bool
) -> dict[str, object]:
    """The options of a network with experts; none for another network, which must not be given any."""
    if build is not None and _has_experts(build):
        return {"reduced": reduced} if experts is None else {"reduced": reduced, "experts": experts}
    if experts is not None or not reduced:
        entries = REGISTRY.entries("backbones")
        found = ", ".join(entry.name for entry in entries if _has_experts(entry.target))
        given = f"experts={experts}" if experts is not None else f"reduced={reduced}"
        raise TailwiseError(f"backbone {name!r} has no experts; got {given}. Those with experts: {found}")
    return {}


def _has_experts(build: Callable[..., object]) -> bool:
    return "experts" in inspect.signature(build).parameters


class _UnknownBackbone(UnknownName):
    """An unknown network. timm has more than a thousand names, so only the nearest ones are shown."""

    def __init__(self, given: str, of_timm: list[str]) -> None:
        own = backbone_names()
        near = [
            repr(match)
            for names in (own, of_timm)
            for match in difflib.get_close_matches(given.lower(), names, n=1, cutoff=0.5)
        ]
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        TailwiseError.__init__(
            self,
            f"unknown backbone {given!r}{hint}; allowed: {', '.join(own)}, or any of timm's {len(of_timm)} models "
            "(timm.list_models())",
        )
