"""Which networks can be computed as one, and what people are told about the others."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from tailwise.core.errors import TailwiseError
from tailwise.models import build_backbone
from tailwise.models.resnet_cifar import ResNetCifar
from tailwise.models.stackable import stackable, why_not_stackable
from tailwise.models.stacked import StackedBackbone
from tests.unit.models.layers import Layers

Edit = Callable[[Layers], object]


@pytest.mark.parametrize("name", ["resnet20", "resnet32", "resnet44", "resnet10"])
@pytest.mark.parametrize("width", [0.1, 1.0])
def test_own_networks_can_be_stacked(name: str, width: float) -> None:
    assert stackable(build_backbone(name, width=width))
    assert why_not_stackable([build_backbone(name, width=width) for _ in range(2)]) is None


class Scaled(nn.Module):
    """A layer with a parameter that the stack cannot widen."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (
            lambda network: network.last.append(nn.Dropout()),
            "layer 'last.4' is a Dropout, which is not known to treat channels apart from each other",
        ),
        (
            lambda network: network.last.append(nn.GroupNorm(2, 6)),
            "layer 'last.4' (GroupNorm) has parameters or buffers of its own",
        ),
        (lambda network: network.last.append(Scaled()), "layer 'last.4' (Scaled) has parameters or buffers of its own"),
        (
            lambda network: network.register_buffer("mean", torch.zeros(3)),
            "the network (Layers) has parameters or buffers of its own",
        ),
        (
            lambda network: setattr(network.deep[1], "momentum", None),
            "layer 'deep.1' (BatchNorm2d) averages over all batches, which needs a count inside the layer",
        ),
    ],
)
def test_layers_that_cannot_be_stacked_are_named(edit: Edit, reason: str) -> None:
    network = Layers()
    edit(network)
    assert not stackable(network)
    assert why_not_stackable([network]) == reason


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (
            lambda network: network.last.append(nn.ReLU()),
            "the networks have different architectures (only some have the layer 'last.4')",
        ),
        (
            lambda network: network.last.__setitem__(2, nn.ReLU()),
            "the networks have different architectures (layer 'last.2' is Identity() in one and ReLU() in another)",
        ),
        (
            lambda network: setattr(network.stem[2], "stride", 3),
            "the networks have different architectures (layer 'stem.2' is AvgPool2d(kernel_size=2, stride=2, padding=0)"
            " in one and AvgPool2d(kernel_size=2, stride=3, padding=0) in another)",
        ),
        (
            lambda network: network.double(),
            "the networks differ in data type or device (layer 'stem.0': torch.float32 on cpu, torch.float64 on cpu)",
        ),
        (
            lambda network: network.to("meta"),
            "the networks differ in data type or device (layer 'stem.0': torch.float32 on cpu, torch.float32 on meta)",
        ),
        (
            lambda network: network.deep.eval(),
            "layer 'deep.1' (BatchNorm2d) is in training mode in some of the networks only",
        ),
    ],
)
def test_the_difference_of_two_networks_is_named(edit: Edit, reason: str) -> None:
    networks = [Layers(), Layers(), Layers()]
    edit(networks[2])
    assert why_not_stackable(networks) == reason
    with pytest.raises(TailwiseError) as raised:
        StackedBackbone(networks)
    assert str(raised.value) == f"these networks cannot be computed as one: {reason}"


def test_depth_and_kind_of_network_are_compared() -> None:
    assert why_not_stackable([ResNetCifar(8), ResNetCifar(14)]) == (
        "the networks have different architectures (only some have the layer 'stage1.1')"
    )
    assert why_not_stackable([ResNetCifar(8, 0.5), ResNetCifar(8, 0.25)]) == (
        "the networks have different architectures (layer 'conv1' is Conv2d(3, 8, kernel_size=(3, 3), stride=(1, 1), "
        "padding=(1, 1), bias=False) in one and Conv2d(3, 4, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), "
        "bias=False) in another)"
    )
    timm = build_backbone("resnet10t")
    assert why_not_stackable([timm, timm]) == "one network is given twice"
    assert why_not_stackable([timm]) == "TimmBackbone does not declare that it can be stacked"
    assert why_not_stackable([nn.Conv2d(3, 8, 3)]) == "Conv2d does not declare that it can be stacked"


def test_no_network_is_refused() -> None:
    with pytest.raises(TailwiseError, match=r"^these networks cannot be computed as one: there is no network$"):
        StackedBackbone([])


def test_a_refused_stack_leaves_the_networks_alone() -> None:
    networks = [ResNetCifar(8, 0.25), ResNetCifar(8, 0.25), ResNetCifar(14, 0.25)]
    places = [item.data_ptr() for item in networks[0].parameters()]
    with pytest.raises(TailwiseError):
        StackedBackbone(networks)
    assert [item.data_ptr() for item in networks[0].parameters()] == places
