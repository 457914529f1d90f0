"""Training several networks as one and one by one, and comparing everything that they leave behind."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from tailwise.models.backbone import Backbone
from tailwise.models.stacked import StackedBackbone


def optimizers(networks: Sequence[nn.Module]) -> list[torch.optim.Optimizer | None]:
    """Another fused optimiser for each network in turn; none for a network without trained parameters."""
    makers: tuple[Callable[[list[nn.Parameter]], torch.optim.Optimizer], ...] = (
        lambda items: torch.optim.SGD(items, lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4, fused=True),
        lambda items: torch.optim.SGD(items, lr=0.01, momentum=0.5, fused=True),
        # With a smaller eps, AdamW moves weights with nearly no gradient by the sign of their rounding errors.
        lambda items: torch.optim.AdamW(items, lr=1e-3, weight_decay=0.1, eps=1e-3, fused=True),
    )
    trained = [[item for item in network.parameters() if item.requires_grad] for network in networks]
    return [makers[k % len(makers)](items) if items else None for k, items in enumerate(trained)]


def loss(maps: Tensor, number: int) -> Tensor:
    """Some function of one network's maps, another one for each network."""
    target = torch.linspace(-1.0, 1.0 + number, maps[0].numel(), device=maps.device, dtype=maps.dtype)
    return (maps.flatten(1) - target).square().mean()


def close(value: Tensor, expected: Tensor, tolerance: float, what: str) -> None:
    """Equal up to a share of the largest entry."""
    value, expected = value.detach().double(), expected.detach().double()
    worst = float((value - expected).abs().max())
    assert worst <= tolerance * max(float(expected.abs().max()), 1e-3), f"{what}: {worst}"


def check_equal_training(
    networks: Sequence[Backbone],
    *,
    size: tuple[int, int],
    batch: int,
    tolerance: float,
    gradient_tolerance: float | None = None,
    steps: int = 3,
    channels_last: bool = False,
    frozen: Sequence[int] = (),
) -> None:
    """Some steps with other images and another optimiser for each network, stacked and separately.

    Args:
        networks: In training mode; changed by the call.
        size: Height and width of the images.
        batch: Images of a step for each network.
        tolerance: Largest difference of maps and statistics, as a share of the largest entry of a tensor.
        gradient_tolerance: The same for gradients and trained weights; default: ``tolerance``. In float32 it must be
            wide: a rectifier whose input is nearly zero opens or not by rounding, in ordinary networks too.
        steps: Number of steps.
        channels_last: Memory layout of the stack.
        frozen: Positions of networks whose parameters are not trained.
    """
    wide = tolerance if gradient_tolerance is None else gradient_tolerance
    for number in frozen:
        networks[number].requires_grad_(False)
    separate = copy.deepcopy(list(networks))
    before = [copy.deepcopy(network.state_dict()) for network in networks]
    stack = StackedBackbone(networks, channels_last=channels_last)
    ours, theirs = optimizers(networks), optimizers(separate)
    first = next(networks[0].parameters())
    generator = torch.Generator().manual_seed(1)
    for step in range(steps):
        images = [torch.randn(batch, 3, *size, generator=generator).to(first) for _ in networks]
        for parameter in stack.trained():
            parameter.grad = None
        maps = stack(torch.cat(images, dim=1))
        torch.stack([loss(maps[:, k], k) for k in range(len(networks))]).sum().backward()
        stack.share_gradients()
        stack.count()
        for k, (network, twin, image) in enumerate(zip(networks, separate, images, strict=True)):
            expected = twin(image)
            close(maps[:, k], expected, tolerance, f"maps of network {k} at step {step}")
            optimizer, other = ours[k], theirs[k]
            if optimizer is None or other is None:
                assert all(parameter.grad is None for parameter in network.parameters())
                continue
            other.zero_grad()
            loss(expected, k).backward()
            for (name, mine), reference in zip(network.named_parameters(), twin.parameters(), strict=True):
                assert mine.grad is not None
                assert reference.grad is not None
                close(mine.grad, reference.grad, wide, f"gradient of {name} of network {k} at step {step}")
            optimizer.step()
            other.step()
        for k, (network, twin) in enumerate(zip(networks, separate, strict=True)):
            for (name, mine), reference in zip(network.named_parameters(), twin.parameters(), strict=True):
                close(mine, reference, wide, f"{name} of network {k} after step {step}")
            for (name, value), expected in zip(network.named_buffers(), twin.buffers(), strict=True):
                if value.is_floating_point():
                    close(value, expected, tolerance, f"{name} of network {k} after step {step}")
                else:
                    assert torch.equal(value, expected), name
    for number in frozen:
        for name, parameter in networks[number].named_parameters():
            assert torch.equal(parameter, before[number][name]), name
    _check_release(stack, networks)


def _check_release(stack: StackedBackbone, networks: Sequence[Backbone]) -> None:
    """After it, nothing that happens to one network reaches another one or the stack."""
    states = [{name: value.clone() for name, value in network.state_dict().items()} for network in networks]
    stack.release()
    for network, state in zip(networks, states, strict=True):
        for name, value in network.state_dict().items():
            assert torch.equal(value, state[name]), name
            assert value.untyped_storage().nbytes() == value.numel() * value.element_size(), name
    for tensor in networks[0].state_dict().values():
        tensor.fill_(7)
    for network, state in zip(networks[1:], states[1:], strict=True):
        assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
