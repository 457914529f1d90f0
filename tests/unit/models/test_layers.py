"""Entering a backbone between its layers: one network, several computed as one, and timm's."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tailwise.core.errors import TailwiseError
from tailwise.models import Backbone, build_backbone
from tailwise.models.backbone import Between
from tailwise.models.resnet_cifar import ResNetCifar
from tailwise.models.stacked import StackedBackbone
from tests.unit.models.layers import Layers

OF_TIMM = {
    "resnet18": ("act1", "layer1", "layer2", "layer3", "layer4"),
    "convnext_atto": ("stages.0", "stages.1", "stages.2", "stages.3"),
    "test_vit": tuple(f"blocks.{number}" for number in range(6)),
    "swin_tiny_patch4_window7_224": tuple(f"layers.{number}" for number in range(4)),
}


def backbone(name: str) -> Backbone:
    torch.manual_seed(0)
    built = build_backbone(name, image_size=64).eval()
    assert isinstance(built, Backbone)
    return built


def images(channels: int = 3, side: int = 64) -> Tensor:
    return torch.randn(3, channels, side, side, generator=torch.Generator().manual_seed(0))


def seen(network: Backbone, x: Tensor) -> dict[str, Tensor]:
    """What each layer gives."""
    found: dict[str, Tensor] = {}

    def look(layer: str, maps: Tensor) -> Tensor:
        found[layer] = maps
        return maps

    network.forward_layers(x, look)
    return found


def only(chosen: str, change: Between) -> Between:
    return lambda layer, maps: change(layer, maps) if layer == chosen else maps


def test_layers_of_the_cifar_network_are_its_stages() -> None:
    network = ResNetCifar(8, 0.25).eval()
    x = images(side=8)
    first = network.stage1(F.relu(network.bn1(network.conv1(x))))
    second = network.stage2(first)
    for layer, expected in zip(network.layers, (first, second, network.stage3(second)), strict=True):
        assert torch.equal(seen(network, x)[layer], expected)


@pytest.mark.parametrize("name", OF_TIMM)
def test_layers_of_timm_models_have_timms_names(name: str) -> None:
    network = backbone(name)
    assert network.layers == OF_TIMM[name]
    with torch.no_grad():
        maps = seen(network, images())
        assert tuple(maps) == network.layers
        assert all(len(item) == 3 for item in maps.values())
        whole = network.forward_features(images())
        assert torch.equal(network.forward_layers(images(), lambda layer, item: item), whole)
        for layer in network.layers:
            order = network.forward_layers(images(), only(layer, lambda _, item: item[[2, 0, 1]]))
            torch.testing.assert_close(order, whole[[2, 0, 1]], rtol=1e-4, atol=1e-4)
        assert torch.equal(network.forward_features(images()), whole)


def test_a_failure_between_layers_leaves_the_network_as_it_was() -> None:
    network = backbone("test_resnet")
    expected = network(images())

    def fail(layer: str, maps: Tensor) -> Tensor:
        raise RuntimeError(layer)

    with pytest.raises(RuntimeError, match="act1"):
        network.forward_layers(images(), fail)
    assert torch.equal(network(images()), expected)


def test_copies_of_a_timm_backbone_are_entered_on_their_own() -> None:
    network = backbone("test_resnet")
    twin = copy.deepcopy(network)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.mul_(0.5)
    assert not torch.equal(seen(network, images())["layer1"], seen(twin, images())["layer1"])


def test_a_compiled_timm_backbone_can_be_entered() -> None:
    network = backbone("test_resnet")

    def forward(x: Tensor, factor: Tensor) -> Tensor:
        return network.forward_layers(x, only("layer2", lambda _, maps: maps * factor + maps.flip(0)))

    torch.compiler.reset()
    compiled = torch.compile(forward, fullgraph=True, backend="aot_eager")
    for value in (0.5, 2.0):
        factor = torch.tensor(value)
        torch.testing.assert_close(compiled(images(), factor), forward(images(), factor), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(forward(images(), torch.tensor(1.0)), network(images()))


def test_a_network_without_layers_says_so() -> None:
    network = Layers()
    assert network.layers == ()
    with pytest.raises(TailwiseError, match=r"^Layers has no layers to act between$"):
        network.forward_layers(images(), lambda layer, maps: maps)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("name", ["resnet20", "resnet10"])
def test_each_network_of_a_stack_is_entered_with_its_own_maps(name: str, channels_last: bool) -> None:
    torch.manual_seed(0)
    networks = [build_backbone(name, width=0.25).double().train() for _ in range(3)]
    twins = copy.deepcopy(networks)
    stack = StackedBackbone(networks, channels_last=channels_last)
    x = images(9, side=33).double()
    asked: list[tuple[int, str]] = []

    def between(number: int, layer: str, maps: Tensor) -> Tensor:
        asked.append((number, layer))
        # The first network goes on as it was, the others change in ways of their own.
        return maps if number == 0 else (number * maps + maps.flip(0) if layer == "layer2" else maps.roll(number, 0))

    maps = stack(x, ("layer1", "layer2"), between)
    assert asked == [(number, layer) for layer in ("layer1", "layer2") for number in range(3)]
    maps.square().sum().backward()
    stack.share_gradients()
    for number, (network, twin) in enumerate(zip(networks, twins, strict=True)):
        assert isinstance(twin, Backbone)

        def own(layer: str, item: Tensor, number: int = number) -> Tensor:
            return between(number, layer, item) if layer in ("layer1", "layer2") else item

        expected = twin.forward_layers(x[:, 3 * number : 3 * number + 3], own)
        torch.testing.assert_close(maps[:, number], expected, rtol=1e-9, atol=1e-9)
        expected.square().sum().backward()
        for mine, reference in zip(network.parameters(), twin.parameters(), strict=True):
            torch.testing.assert_close(mine.grad, reference.grad, rtol=1e-7, atol=1e-7)
    assert torch.equal(stack(x), stack(x, ("layer9",), between))


def test_a_stack_that_is_entered_compiles_to_one_graph() -> None:
    torch.manual_seed(0)
    stack = StackedBackbone([ResNetCifar(8, 0.25).eval() for _ in range(2)])

    def forward(x: Tensor, factors: Tensor) -> Tensor:
        return stack(x, frozenset({"layer2"}), lambda number, layer, maps: factors[number] * maps + maps.flip(0))

    torch.compiler.reset()
    x, factors = images(6, side=8), torch.tensor([0.5, 3.0])
    compiled = torch.compile(forward, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x, factors), forward(x, factors), rtol=1e-4, atol=1e-4)
