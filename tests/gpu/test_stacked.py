"""Several networks as one module on a CUDA device: what they learn, and a step in a graph."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch

from tailwise.models.backbone import Backbone
from tailwise.models.resnet10 import ResNet10
from tailwise.models.resnet_cifar import ResNetCifar
from tailwise.models.stacked import StackedBackbone
from tests.conformance.stacking import check_equal_training, close, loss

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def full_precision() -> Iterator[None]:
    """TensorFloat-32 off, for convolutions and matrix products."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


def build(name: str, count: int) -> list[Backbone]:
    torch.manual_seed(0)
    return [(ResNet10(0.25) if name == "resnet10" else ResNetCifar(20)).cuda() for _ in range(count)]


@pytest.mark.parametrize("name", ["resnet20", "resnet10"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_networks_learn_as_one_what_they_learn_alone(name: str, channels_last: bool) -> None:
    exact = [network.double() for network in build(name, 3)]
    check_equal_training(exact, size=(33, 35), batch=5, tolerance=1e-9, channels_last=channels_last, frozen=(1,))
    check_equal_training(
        build(name, 3),
        size=(33, 35),
        batch=16,
        tolerance=1e-4,
        gradient_tolerance=0.1,
        steps=1,
        channels_last=channels_last,
    )


@pytest.mark.parametrize("channels_last", [False, True])
def test_a_step_in_a_graph_learns_what_the_same_step_learns_without(channels_last: bool) -> None:
    networks = [network.double() for network in build("resnet20", 3)]
    twins = copy.deepcopy(networks)
    first, second = (StackedBackbone(items, channels_last=channels_last) for items in (networks, twins))
    image = torch.randn(4, 9, 16, 16, device="cuda", dtype=torch.float64)

    def step(stack: StackedBackbone, optimizers: list[torch.optim.Optimizer]) -> None:
        for parameter in stack.trained():
            parameter.grad = None
        maps = stack(image)
        torch.stack([loss(maps[:, k], k) for k in range(3)]).sum().backward()
        stack.share_gradients()
        stack.count()
        for optimizer in optimizers:
            optimizer.step()

    def sgd(networks: list[Backbone]) -> list[torch.optim.Optimizer]:
        rates = [torch.tensor(rate, device="cuda") for rate in (0.1, 0.05, 0.01)]
        return [
            torch.optim.SGD(network.parameters(), lr=rate, momentum=0.9, nesterov=True, fused=True)
            for network, rate in zip(networks, rates, strict=True)
        ]

    ours, theirs = sgd(networks), sgd(twins)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step(first, ours)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step(first, ours)
    for _ in range(2):
        graph.replay()
    for _ in range(5):
        step(second, theirs)
    for network, twin in zip(networks, twins, strict=True):
        for (name, value), expected in zip(network.state_dict().items(), twin.state_dict().values(), strict=True):
            if value.is_floating_point():
                close(value, expected, 1e-8, name)
            else:
                assert torch.equal(value, expected), name
