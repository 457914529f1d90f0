"""What every own network must do. Each check takes a function from a width to a network."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.testing import assert_close

from tailwise.models.backbone import Backbone
from tests.conformance.stacking import check_equal_training

Build = Callable[[float], Backbone]


def images(size: int = 32) -> torch.Tensor:
    """Two random images."""
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))


def check_maps(build: Build) -> None:
    """Images of several sizes give finite maps of the declared width; the width multiplies the features."""
    for width in (0.25, 0.5):
        network = build(width).eval()
        assert network.num_features == round(width * build(1.0).num_features)
        for height, breadth in ((8, 8), (32, 32), (33, 48)):
            maps = network.forward_features(torch.randn(2, 3, height, breadth))
            assert maps.shape[:2] == (2, network.num_features)
            assert maps.ndim == 4
            assert maps.isfinite().all()


def check_gradients(build: Build) -> None:
    """Every parameter receives a gradient."""
    network = build(0.25).train()
    network.forward_features(images()).square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.requires_grad, name
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


def check_state(build: Build) -> None:
    """The state dict holds everything that the maps depend on, and one seed gives one initialisation."""
    torch.manual_seed(0)
    first = build(0.25)
    first.train().forward_features(images())  # Moves the running statistics.
    second = build(0.25)
    expected = first.eval().forward_features(images())
    assert not torch.equal(second.eval().forward_features(images()), expected)
    second.load_state_dict(first.state_dict())
    assert torch.equal(second.eval().forward_features(images()), expected)
    torch.manual_seed(0)
    again = build(0.25).train()
    again.forward_features(images())
    assert torch.equal(again.eval().forward_features(images()), expected)


def check_formats(build: Build) -> None:
    """Channels-last memory gives the same maps; bfloat16 autocast nearly the same."""
    network = build(0.25).eval()
    expected = network.forward_features(images())
    last = network.to(memory_format=torch.channels_last).forward_features(  # type: ignore[call-overload]
        images().contiguous(memory_format=torch.channels_last)
    )
    assert_close(last, expected, rtol=1e-3, atol=1e-3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = network.forward_features(images())
    assert_close(half.float(), expected, rtol=0, atol=0.1 * float(expected.detach().abs().max()))


def check_compiles(build: Build) -> None:
    """Dynamo traces the network as one graph."""
    network = build(0.25).eval()
    torch.compiler.reset()
    compiled = torch.compile(network.forward_features, fullgraph=True, backend="eager")
    assert_close(compiled(images()), network.forward_features(images()))


def check_layers(build: Build) -> None:
    """Entering the network between its layers and changing nothing is the ordinary forward pass; changes take effect.

    Traced as one graph, too.
    """
    network = build(0.25).eval()
    visited: list[str] = []

    def look(layer: str, maps: torch.Tensor) -> torch.Tensor:
        visited.append(layer)
        return maps

    expected = network.forward_features(images())
    assert torch.equal(network.forward_layers(images(), look), expected)
    assert tuple(visited) == network.layers
    assert network.layers

    def swap(layer: str, maps: torch.Tensor) -> torch.Tensor:
        return maps.flip(0) if layer == network.layers[-2] else maps

    torch.compiler.reset()
    compiled = torch.compile(network.forward_layers, fullgraph=True, backend="eager")
    assert_close(compiled(images(), swap), expected.flip(0))


def check_meta(build: Build) -> None:
    """It runs without data, so nothing in it waits for a value on the device."""
    with torch.device("meta"):
        network = build(0.25)
    assert network.forward_features(images().to("meta")).is_meta


def check_stacked(build: Build) -> None:
    """Networks that are computed as one learn what they learn one by one; a frozen one among them stays as it is."""
    if not build(0.25).stackable:
        pytest.skip("does not declare that it can be stacked")
    torch.manual_seed(0)
    for count, batch, channels_last, frozen in ((1, 2, False, ()), (3, 5, True, (1,))):
        networks = [build(0.25).double() for _ in range(count)]
        check_equal_training(
            networks, size=(33, 17), batch=batch, tolerance=1e-10, channels_last=channels_last, frozen=frozen
        )
    networks = [build(0.25) for _ in range(3)]
    check_equal_training(networks, size=(33, 17), batch=4, tolerance=1e-4, gradient_tolerance=0.1, steps=1)


CHECKS = (
    check_maps,
    check_gradients,
    check_state,
    check_formats,
    check_compiles,
    check_layers,
    check_meta,
    check_stacked,
)
