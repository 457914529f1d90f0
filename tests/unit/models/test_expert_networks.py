"""Networks with experts: what is shared and what is not, widths, and messages."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tailwise.core.errors import TailwiseError
from tailwise.models.backbone import Backbone, build_backbone
from tailwise.models.experts import ExpertBackbone
from tailwise.models.resnet_cifar import ResNetCifar
from tailwise.models.ride_resnet import RideResNet
from tailwise.models.ride_resnet_cifar import RideResNetCifar


def images(size: int) -> torch.Tensor:
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))


def small(experts: int = 3) -> RideResNetCifar:
    return RideResNetCifar(8, 0.25, experts)


@pytest.mark.parametrize("make", [small, lambda: RideResNet(0.25, 2, groups=32, group_width=4)])
def test_each_expert_s_channels_are_those_of_its_own_stages(make: object) -> None:
    network: ExpertBackbone = make().eval()  # type: ignore[operator]
    maps = network(images(32))
    shared = nn.Sequential(*network.shared)(images(32))
    for number, part in enumerate(maps.chunk(network.num_experts, dim=1)):
        assert torch.equal(part, network.second[number](network.first[number](shared)))
    assert not torch.equal(*maps.chunk(network.num_experts, dim=1)[:2])


def test_a_change_of_one_expert_reaches_its_own_channels_only() -> None:
    network = small().eval()
    before = network(images(16)).chunk(3, dim=1)
    with torch.no_grad():
        for parameter in network.second[1].parameters():
            parameter.mul_(1.5)
    after = network(images(16)).chunk(3, dim=1)
    assert [torch.equal(one, two) for one, two in zip(before, after, strict=True)] == [True, False, True]


def test_one_expert_of_full_width_is_the_ordinary_network() -> None:
    ordinary, network = ResNetCifar(20, 0.5).eval(), RideResNetCifar(20, 0.5, 1, reduced=False).eval()
    values = list(ordinary.state_dict().values())
    names = list(network.state_dict())
    assert len(values) == len(names)
    network.load_state_dict(dict(zip(names, values, strict=True)))
    torch.testing.assert_close(network(images(16)), ordinary(images(16)))


@pytest.mark.parametrize(
    ("name", "experts", "reduced", "features"),
    [
        ("ride_resnet32", 3, True, 3 * 48),
        ("ride_resnet32", 2, False, 2 * 64),
        ("ride_resnet50", 2, True, 2 * 1536),
        ("ride_resnext50", 3, False, 3 * 2048),
        ("ride_resnext50", 4, True, 4 * 1536),
    ],
)
def test_widths_are_those_of_the_authors_code(name: str, experts: int, reduced: bool, features: int) -> None:
    with torch.device("meta"):
        network = build_backbone(name, experts=experts, reduced=reduced)
    assert isinstance(network, ExpertBackbone)
    assert (network.num_experts, network.num_features) == (experts, features)
    size = 32 if name == "ride_resnet32" else 224
    maps = network(torch.zeros(1, 3, size, size, device="meta"))
    assert maps.shape == (1, features, 8, 8) if size == 32 else (1, features, 7, 7)


def test_full_width_stages_are_torchvision_s() -> None:
    import torchvision

    with torch.device("meta"):
        ours = RideResNet(1.0, 1, reduced=False, groups=32, group_width=4)
        theirs = torchvision.models.resnext50_32x4d()
    wanted = [tuple(item.shape) for name, item in theirs.state_dict().items() if not name.startswith("fc.")]
    assert [tuple(item.shape) for item in ours.state_dict().values()] == wanted


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("ride_resnet32", {"experts": 9}, "experts must be from 1 to 8, got 9"),
        ("ride_resnet32", {"width": 0.01}, "width must leave at least one channel in every stage, got 0.01"),
        ("ride_resnext50", {"width": 0.1}, "width must leave at least one channel in every stage, got 0.1"),
        ("resnet32", {"experts": 2}, "'resnet32' has no experts; got experts=2. Those with experts: ride_resnet20"),
        ("resnet18", {"reduced": False}, "'resnet18' has no experts; got reduced=False"),
    ],
)
def test_wrong_options_are_refused(name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(TailwiseError, match=message):
        build_backbone(name, **options)  # type: ignore[arg-type]


def test_an_ordinary_network_counts_as_one_expert() -> None:
    assert isinstance(network := build_backbone("resnet20", width=0.25), Backbone)
    assert network.num_experts == 1
