"""ResNet-20, -32, -44 and -10: sizes, shortcuts and initialisation, each worked out independently."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torchvision.models.resnet import BasicBlock as TorchvisionBlock
from torchvision.models.resnet import ResNet as TorchvisionResNet

from tailwise.core.errors import TailwiseError
from tailwise.heads import Linear
from tailwise.models import build_backbone
from tailwise.models.resnet10 import ResNet10
from tailwise.models.resnet_cifar import ResNetCifar, shortcut_a


def num_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def parameters_by_hand(depth: int, base: int, classes: int) -> int:
    """Convolutions without bias, two numbers per normalised channel, a linear layer with bias."""
    channels, total = [base, 2 * base, 4 * base], 3 * 9 * base + 2 * base
    before = base
    for width in channels:
        for _ in range((depth - 2) // 6):
            total += 9 * before * width + 9 * width * width + 4 * width
            before = width
    return total + (before + 1) * classes


@pytest.mark.parametrize(("depth", "millions"), [(20, 0.27), (32, 0.46), (44, 0.66)])
def test_cifar_networks_have_the_printed_number_of_parameters(depth: int, millions: float) -> None:
    backbone = build_backbone(f"resnet{depth}")
    total = num_parameters(backbone) + num_parameters(Linear().build(64, 10))
    assert total == parameters_by_hand(depth, 16, 10)
    assert round(total / 1e6, 2) == millions


def test_width_multiplies_the_channels() -> None:
    assert num_parameters(ResNetCifar(20, 0.5)) == parameters_by_hand(20, 8, 0)
    assert num_parameters(ResNetCifar(20, 4.0)) == parameters_by_hand(20, 64, 0)
    assert ResNetCifar(20, 4.0).num_features == 256
    assert ResNet10(0.5).num_features == 256


def test_resnet10_is_torchvisions_with_one_block_per_stage() -> None:
    theirs = TorchvisionResNet(TorchvisionBlock, [1, 1, 1, 1])
    ours = build_backbone("resnet10")
    assert num_parameters(ours) == num_parameters(theirs) - num_parameters(theirs.fc) == 4_905_792
    for (_, mine), (name, other) in zip(ours.state_dict().items(), theirs.state_dict().items(), strict=False):
        assert mine.shape == other.shape, name
        mine.copy_(other)
    x = torch.randn(2, 3, 64, 64)
    pooled = ours.eval()(x).mean((2, 3))
    theirs.fc = nn.Identity()  # type: ignore[assignment]
    np.testing.assert_allclose(pooled.detach(), theirs.eval()(x).detach(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("name", "blocks"), [("resnet18_small", [2, 2, 2, 2]), ("resnet34_small", [3, 4, 6, 3])])
def test_small_resnets_are_torchvisions_behind_the_stem(name: str, blocks: list[int]) -> None:
    theirs = TorchvisionResNet(TorchvisionBlock, blocks)
    theirs.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    theirs.maxpool = nn.Identity()  # type: ignore[assignment]
    ours = build_backbone(name)
    assert num_parameters(ours) == num_parameters(theirs) - num_parameters(theirs.fc)
    for (_, mine), (key, other) in zip(ours.state_dict().items(), theirs.state_dict().items(), strict=False):
        assert mine.shape == other.shape, key
        mine.copy_(other)
    x = torch.randn(2, 3, 16, 16)
    theirs.fc = nn.Identity()  # type: ignore[assignment]
    np.testing.assert_allclose(ours.eval()(x).mean((2, 3)).detach(), theirs.eval()(x).detach(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "size", "side"),
    [
        ("resnet18_small", 32, 4),
        ("resnet18_small", 8, 1),
        ("resnet34_small", 33, 5),
        ("resnet20", 8, 2),
        ("resnet32", 32, 8),
        ("resnet20", 33, 9),
        ("resnet20", 224, 56),
        ("resnet10", 8, 1),
        ("resnet10", 32, 1),
        ("resnet10", 224, 7),
    ],
)
def test_maps_have_the_size_of_the_strides(name: str, size: int, side: int) -> None:
    backbone = build_backbone(name, width=0.25).eval()
    with torch.inference_mode():
        maps = backbone(torch.randn(1, 3, size, size))
    assert maps.shape == (1, backbone.num_features, side, side)
    assert maps.isfinite().all()


@settings(deadline=None)
@given(
    channels=st.integers(1, 5),
    extra=st.integers(0, 7),
    stride=st.integers(1, 3),
    height=st.integers(1, 6),
    width=st.integers(1, 6),
)
def test_shortcut_takes_every_second_pixel_and_pads_both_sides(
    channels: int, extra: int, stride: int, height: int, width: int
) -> None:
    x = np.arange(2.0 * channels * height * width).reshape(2, channels, height, width) + 1
    expected = np.zeros((2, channels + extra, math.ceil(height / stride), math.ceil(width / stride)))
    for c in range(channels):
        for i in range(0, height, stride):
            for j in range(0, width, stride):
                expected[:, extra // 2 + c, i // stride, j // stride] = x[:, c, i, j]
    np.testing.assert_array_equal(shortcut_a(torch.from_numpy(x), channels + extra, stride), expected)


@settings(deadline=None, max_examples=60)
@given(
    stack=st.integers(1, 4),
    channels=st.integers(1, 4),
    extra=st.integers(0, 5),
    stride=st.integers(1, 3),
    height=st.integers(1, 6),
    width=st.integers(1, 6),
    channels_last=st.booleans(),
)
def test_shortcut_of_a_stack_is_that_of_each_network(
    stack: int, channels: int, extra: int, stride: int, height: int, width: int, channels_last: bool
) -> None:
    x = torch.randn(2, stack * channels, height, width)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    alone = [shortcut_a(part, channels + extra, stride) for part in x.chunk(stack, dim=1)]
    assert torch.equal(shortcut_a(x, stack * (channels + extra), stride, stack), torch.cat(alone, dim=1))


def test_shortcut_of_a_stack_keeps_channels_last_memory() -> None:
    x = torch.randn(2, 12, 6, 6).contiguous(memory_format=torch.channels_last)
    assert shortcut_a(x, 24, 2, 3).is_contiguous(memory_format=torch.channels_last)


def test_doubling_the_channels_pads_a_quarter_of_the_new_width_on_each_side() -> None:
    y = shortcut_a(torch.ones(1, 16, 4, 4), 32, 2)
    assert y.shape == (1, 32, 2, 2)
    assert y[0, :, 0, 0].tolist() == [0.0] * 8 + [1.0] * 16 + [0.0] * 8


@pytest.mark.parametrize(
    ("backbone", "fan"),
    [(ResNetCifar(32), "in"), (ResNet10(), "out")],
    ids=["resnet32", "resnet10"],
)
def test_convolutions_start_with_hes_deviation_and_norms_as_identity(backbone: nn.Module, fan: str) -> None:
    for name, module in backbone.named_modules():
        if isinstance(module, nn.Conv2d):
            channels = module.in_channels if fan == "in" else module.out_channels
            expected = math.sqrt(2 / (module.kernel_size[0] * module.kernel_size[1] * channels))
            weight, count = module.weight.detach(), module.weight.numel()
            # Four standard errors of a standard deviation and of a mean.
            assert abs(float(weight.std()) / expected - 1) < 4 / math.sqrt(2 * count), name
            assert abs(float(weight.mean())) < 4 * expected / math.sqrt(count), name
            assert module.bias is None
        if isinstance(module, nn.BatchNorm2d):
            assert (module.weight == 1).all(), name
            assert (module.bias == 0).all(), name


@pytest.mark.parametrize("depth", [2, 7, 21])
def test_other_depths_are_refused(depth: int) -> None:
    with pytest.raises(ValueError, match=f"depth must be 6 n \\+ 2 with n of at least 1, got {depth}"):
        ResNetCifar(depth)


@pytest.mark.parametrize("name", ["resnet20", "resnet10", "resnet18_small"])
def test_a_width_without_channels_is_refused(name: str) -> None:
    with pytest.raises(TailwiseError, match=rf"backbone '{name}': width must leave at least one of \d+ channels"):
        build_backbone(name, width=0.001)
