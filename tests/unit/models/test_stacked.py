"""Several networks as one module: shared tensors, and what else works on one network meanwhile."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tailwise.engine.checkpoint import load_weights, save_weights
from tailwise.models.resnet_cifar import BasicBlock, ResNetCifar
from tailwise.models.stacked import StackedBackbone
from tests.conformance.stacking import check_equal_training
from tests.unit.models.layers import Layers


def small(count: int = 3) -> list[ResNetCifar]:
    torch.manual_seed(0)
    return [ResNetCifar(8, 0.25) for _ in range(count)]


def images(count: int = 3, batch: int = 4, size: int = 9) -> Tensor:
    return torch.randn(batch, 3 * count, size, size, generator=torch.Generator().manual_seed(1))


def backward(stack: StackedBackbone) -> None:
    for parameter in stack.trained():
        parameter.grad = None
    stack(images(stack.size).to(next(stack.parameters()).dtype)).square().sum().backward()
    stack.share_gradients()


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("batch", [2, 3])
def test_networks_with_other_layers_learn_as_one_what_they_learn_alone(channels_last: bool, batch: int) -> None:
    torch.manual_seed(0)
    networks = [Layers().double() for _ in range(3)]
    check_equal_training(networks, size=(7, 10), batch=batch, tolerance=1e-10, channels_last=channels_last)


@pytest.mark.parametrize("count", [1, 3])
def test_stacked_tensors_have_the_names_of_one_network_and_hold_the_networks_as_chunks(count: int) -> None:
    networks = small(count)
    before = [copy.deepcopy(network.state_dict()) for network in networks]
    stack = StackedBackbone(networks)
    assert stack.size == count
    assert stack.num_features == networks[0].num_features
    names = [name for name in before[0] if not name.endswith("num_batches_tracked")]
    assert list(stack.network.state_dict()) == names
    assert [name for name, _ in stack.named_parameters()] == [f"network.{key}" for key in dict_keys(networks[0])]
    for name, value in stack.network.state_dict().items():
        for chunk, state in zip(value.chunk(count), before, strict=True):
            assert torch.equal(chunk, state[name]), name
    for network, state in zip(networks, before, strict=True):
        assert list(network.state_dict()) == list(state)
        assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())


def dict_keys(network: nn.Module) -> list[str]:
    return [name for name, _ in network.named_parameters()]


@pytest.mark.parametrize("channels_last", [False, True])
def test_tensors_keep_their_identity_and_share_memory_with_the_stack(channels_last: bool) -> None:
    networks = small()
    held = [[*network.parameters(), *network.buffers()] for network in networks]
    stack = StackedBackbone(networks, channels_last=channels_last)
    for network, tensors in zip(networks, held, strict=True):
        assert all(one is two for one, two in zip((*network.parameters(), *network.buffers()), tensors, strict=True))
    weight = stack.network.get_parameter("stage2.0.conv1.weight")
    assert weight.is_contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
    mine = networks[1].stage2[0].conv1.weight  # pyright: ignore[reportAttributeAccessIssue]
    assert mine.stride() == weight.stride()
    with torch.no_grad():
        mine.fill_(5.0)
        assert torch.equal(weight.chunk(3)[1], mine)
        weight.fill_(6.0)
        assert bool((mine == 6).all())


def test_a_loaded_state_reaches_the_stack() -> None:
    networks, other = small(), ResNetCifar(8, 0.25)
    other(images(1))  # Moves the running statistics and the counters.
    stack = StackedBackbone(networks)
    networks[2].load_state_dict(other.state_dict())
    for name, value in stack.network.state_dict().items():
        assert torch.equal(value.chunk(3)[2], other.state_dict()[name]), name
    assert stack.counters.tolist() == [[0, 0, 1]] * 7
    stack.eval()
    assert torch.allclose(stack(images())[:, 2], other.eval()(images()[:, 6:]), atol=1e-5)


def test_a_network_of_a_stack_is_saved_as_any_other(tmp_path: Path) -> None:
    networks = small()
    expected = copy.deepcopy(networks[1].state_dict())
    StackedBackbone(networks, channels_last=True)
    save_weights(tmp_path / "weights", networks[1].state_dict(), {})
    loaded = load_weights(tmp_path / "weights")
    assert set(loaded) == set(expected)
    assert all(torch.equal(loaded[name], value) for name, value in expected.items())
    # Not the memory of all three networks.
    assert (tmp_path / "weights").stat().st_size < 1.5 * 4 * sum(value.numel() for value in expected.values()) + 8192


@pytest.mark.parametrize("channels_last", [False, True])
def test_gradients_are_views_and_the_optimisers_state_is_ordinary(channels_last: bool) -> None:
    networks = [network.double() for network in small()]
    stack = StackedBackbone(networks, channels_last=channels_last)
    optimizer = torch.optim.SGD(networks[1].parameters(), lr=torch.tensor(1e-4), momentum=0.9, fused=True)
    backward(stack)
    stacked = stack.network.get_parameter("conv1.weight").grad
    mine = networks[1].conv1.weight.grad
    assert stacked is not None
    assert mine is not None
    assert mine.data_ptr() == stacked.chunk(3)[1].data_ptr()
    optimizer.step()
    for parameter in networks[1].parameters():
        buffer = optimizer.state[parameter]["momentum_buffer"]
        assert (buffer.shape, buffer.stride()) == (parameter.shape, parameter.stride())
        assert buffer.untyped_storage().nbytes() == 8 * buffer.numel()
    # An ordinary network goes on with it.
    twin = copy.deepcopy(networks[1])
    ordinary = torch.optim.SGD(twin.parameters(), lr=torch.tensor(1e-4), momentum=0.9, fused=True)
    ordinary.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    backward(stack)
    twin(images()[:, 3:6].double()).square().sum().backward()
    optimizer.step()
    ordinary.step()
    for one, two in zip(networks[1].parameters(), twin.parameters(), strict=True):
        assert torch.allclose(one, two, rtol=1e-9, atol=1e-9)


def test_gradients_that_are_zeroed_in_place_stay_shared() -> None:
    networks = small()
    stack = StackedBackbone(networks)
    backward(stack)
    mine = networks[0].conv1.weight.grad
    assert mine is not None
    expected = mine.clone()
    for parameter in stack.trained():
        assert parameter.grad is not None
        parameter.grad.zero_()
    assert not mine.any()
    stack(images()).square().sum().backward()
    assert torch.allclose(mine, expected, rtol=1e-4, atol=1e-4)


def test_frozen_parameters_get_no_gradient_and_need_none_when_every_network_freezes_them() -> None:
    networks = small()
    networks[0].requires_grad_(False)
    for network in networks:
        network.conv1.requires_grad_(False)
    stack = StackedBackbone(networks)
    names = {name for name, item in stack.network.named_parameters() if item.requires_grad}
    assert names == set(dict_keys(networks[0])) - {"conv1.weight"}
    assert len(stack.trained()) == len(names)
    backward(stack)
    assert all(item.grad is None for item in networks[0].parameters())
    assert networks[1].conv1.weight.grad is None
    assert all(item.grad is not None for name, item in networks[1].named_parameters() if name in names)


def test_a_stack_that_trains_nothing_has_maps_without_gradient() -> None:
    networks = small()
    for network in networks:
        network.requires_grad_(False)
        network.conv1.weight.grad = torch.ones_like(network.conv1.weight)
    stack = StackedBackbone(networks)
    assert stack.trained() == []
    assert not stack(images()).requires_grad
    stack.share_gradients()
    assert networks[0].conv1.weight.grad is None


def test_only_layers_in_training_mode_count_batches_and_move_their_statistics() -> None:
    networks = small()
    for network in networks:
        network.bn1.eval()
    stack = StackedBackbone(networks)
    stack(images())
    stack.count()
    stack.count()
    for network in networks:
        assert int(network.bn1.num_batches_tracked) == 0  # type: ignore[arg-type]
        assert bool((network.bn1.running_mean == 0).all())  # type: ignore[union-attr]
        block = network.stage1[0]
        assert isinstance(block, BasicBlock)
        assert int(block.bn1.num_batches_tracked) == 2  # type: ignore[arg-type]
        assert not bool((block.bn1.running_mean == 0).any())  # type: ignore[union-attr]
    stack.train().count()
    assert int(networks[2].bn1.num_batches_tracked) == 1  # type: ignore[arg-type]


def test_in_evaluation_mode_it_gives_the_maps_of_the_evaluated_networks() -> None:
    networks = [network.eval() for network in small()]
    stack = StackedBackbone(networks, channels_last=True)
    with torch.inference_mode():
        maps = stack(images())
        alone = [network(images()[:, 3 * k : 3 * k + 3]) for k, network in enumerate(networks)]
    assert torch.allclose(maps, torch.stack(alone, dim=1), rtol=1e-4, atol=1e-4)


def test_maps_leave_as_a_view_of_channels_last_memory() -> None:
    stack = StackedBackbone(small(), channels_last=True)
    maps = stack(images(size=12))
    assert maps.shape == (4, 3, 16, 3, 3)
    assert maps.stride() == (9 * 48, 16, 1, 3 * 48, 48)


def test_after_release_the_networks_are_independent_and_keep_layout_and_gradients() -> None:
    networks = small()
    stack = StackedBackbone(networks, channels_last=True)
    backward(stack)
    strides = [item.stride() for item in networks[0].parameters()]
    gradients = [item.grad.clone() for item in networks[0].parameters() if item.grad is not None]
    stack.release()
    stack.release()  # Once more does nothing.
    for parameter in stack.parameters():
        assert parameter.grad is not None
        parameter.grad.fill_(7.0)
    assert [item.stride() for item in networks[0].parameters()] == strides
    assert all(
        torch.equal(item.grad, value)  # type: ignore[arg-type]
        for item, value in zip(networks[0].parameters(), gradients, strict=True)
    )
    expected = copy.deepcopy(networks[1].state_dict())
    with torch.no_grad():
        for parameter in networks[0].parameters():
            parameter.fill_(7.0)
    stack.count()
    assert all(torch.equal(value, expected[name]) for name, value in networks[1].state_dict().items())


def test_networks_of_an_unreleased_stack_can_be_stacked_anew() -> None:
    networks = small()
    StackedBackbone(networks, channels_last=True)
    expected = copy.deepcopy(networks[2].state_dict())
    stack = StackedBackbone([networks[2], networks[0]])
    assert all(torch.equal(value, expected[name]) for name, value in networks[2].state_dict().items())
    assert networks[2].conv1.weight.data_ptr() == stack.network.get_parameter("conv1.weight").data_ptr()


def test_it_compiles_as_one_graph_and_trains_as_without() -> None:
    torch.compiler.reset()
    networks = small()
    twins = copy.deepcopy(networks)
    stack, other = StackedBackbone(networks), StackedBackbone(twins)
    compiled = torch.compile(stack, fullgraph=True, backend="aot_eager")
    for _ in range(2):
        for parameter in stack.trained():
            parameter.grad = None
        compiled(images()).square().sum().backward()
        stack.share_gradients()
        stack.count()
        backward(other)
        other.count()
        for network, twin in zip(networks, twins, strict=True):
            for one, two in zip(network.parameters(), twin.parameters(), strict=True):
                assert one.grad is not None
                assert two.grad is not None
                assert torch.allclose(one.grad, two.grad, rtol=1e-3, atol=1e-3 * float(two.grad.abs().max()))
            torch.testing.assert_close(network.state_dict(), twin.state_dict())


def test_under_bfloat16_autocast_maps_stay_near_those_in_float32() -> None:
    networks = [network.eval() for network in small()]
    stack = StackedBackbone(networks, channels_last=True)
    expected = stack(images())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        maps = stack(images())
    assert maps.dtype == torch.bfloat16
    assert float((maps - expected).detach().abs().max()) < 0.05 * float(expected.detach().abs().max())
    maps.float().sum().backward()
    stack.share_gradients()
    assert all(item.grad is not None and item.grad.dtype == torch.float32 for item in networks[0].parameters())
