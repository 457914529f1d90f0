"""Several networks of one architecture computed as one module, whose tensors the networks share."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Collection, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from tailwise.core.errors import TailwiseError
from tailwise.models.backbone import Backbone
from tailwise.models.stackable import stackable, why_not_stackable

__all__ = ["StackedBackbone", "stackable", "why_not_stackable"]


class StackedBackbone(nn.Module):
    """``K`` backbones of one architecture as one module: one forward and one backward pass compute all of them.

    Network ``k`` owns the channels ``k D .. (k + 1) D`` of every map. Convolutions have ``K`` times as many groups;
    BatchNorm works per channel and only gets more of them. :attr:`network` has the parameter names of one backbone,
    and every tensor of it is ``K`` times as long in dimension 0, where chunk ``k`` is network ``k``'s tensor.

    The backbones stay ordinary networks: their parameters and buffers keep their identity and become views of the
    chunks. So evaluation, optimisers, averages, ``state_dict`` and ``load_state_dict`` of one network work as before,
    and what one side writes the other reads. What gives a tensor new memory breaks this: moving the module or a
    backbone to another device or data type, ``load_state_dict(assign=True)``.

    Layout. Maps leave as ``[B, K, D, h, w]`` by splitting the channel dimension, which is a view in either layout.
    With channels last the numbers of one pixel lie side by side, so one network's slice has ``D`` numbers in a row
    and a stride between pixels; pooling reads it in place, and the pooled ``[B, K, D]`` goes into a batched matrix
    product without a copy. Networks are not put into the batch dimension, which would copy every map.
    A chunk in dimension 0 of a weight is dense in either layout, as fused optimisers ask for.

    Args:
        backbones: The networks, all different objects. BatchNorm layers keep the mode that they have here.
        channels_last: Whether weights and maps are in channels-last memory, which grouped convolutions on a GPU want.
            Optimiser state from before, in another layout, does not suit the fused optimisers then.

    Attributes:
        size: ``K``.
        num_features: ``D``, the width of one network's maps.
        members: The backbones.
        network: The stacked network.
        counters: Batches seen by each BatchNorm layer of each network, shape ``[layers, K]``.

    Raises:
        TailwiseError: :func:`why_not_stackable` gives a reason.
    """

    counters: Tensor

    def __init__(self, backbones: Sequence[nn.Module], *, channels_last: bool = False) -> None:
        super().__init__()
        reason = why_not_stackable(backbones)
        if reason is not None:
            raise TailwiseError(f"these networks cannot be computed as one: {reason}")
        self.members = tuple(backbones)
        self.size, self.channels_last = len(backbones), channels_last
        self.network = cast(Backbone, copy.deepcopy(backbones[0]))
        self.num_features = self.network.num_features
        self._shares: list[tuple[nn.Parameter, list[nn.Parameter]]] = []
        self._counted: list[nn.BatchNorm2d] = []
        counters: list[list[Tensor]] = []
        for layer, *parts in zip(*(network.modules() for network in (self.network, *backbones)), strict=True):
            _widen(layer, self.size)
            layer.training = parts[0].training
            for name in [name for name, _ in layer.named_parameters(recurse=False)]:
                parameters = [part.get_parameter(name) for part in parts]
                trained = any(parameter.requires_grad for parameter in parameters)
                stacked = nn.Parameter(self._join(parameters), requires_grad=trained)
                setattr(layer, name, stacked)
                self._shares.append((stacked, parameters))
            for name in [name for name, _ in layer.named_buffers(recurse=False)]:
                buffers = [part.get_buffer(name) for part in parts]
                if isinstance(layer, nn.BatchNorm2d) and name == "num_batches_tracked":
                    layer.num_batches_tracked = None
                    self._counted.append(layer)
                    counters.append(buffers)
                else:
                    setattr(layer, name, self._join(buffers))
        device = counters[0][0].device if counters else None
        values = torch.zeros(len(counters), self.size, dtype=torch.long, device=device)
        self.register_buffer("counters", values, persistent=False)
        for row, buffers in zip(values, counters, strict=True):
            for number, buffer in enumerate(buffers):
                row[number] = buffer
                buffer.data = row[number]

    def forward(
        self, x: Tensor, layers: Collection[str] = (), between: Callable[[int, str, Tensor], Tensor] | None = None
    ) -> Tensor:
        """Maps ``[B, K, D, h, w]`` of normalised images ``[B, 3 K, H, W]``, three channels for each network in turn.

        Args:
            x: The images.
            layers: Layers of the networks after which ``between`` is called for every network.
            between: From the number of a network, the name of the layer and the network's maps to new maps of the same
                shape.
        """
        if self.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        if between is None or not layers:
            maps = self.network.forward_features(x)
        else:

            def for_each(layer: str, maps: Tensor) -> Tensor:
                if layer not in layers:
                    return maps
                parts = maps.chunk(self.size, dim=1)
                return torch.cat([between(number, layer, part) for number, part in enumerate(parts)], dim=1)

            maps = self.network.forward_layers(x, for_each)
        return maps.unflatten(1, (self.size, self.num_features))

    def trained(self) -> list[nn.Parameter]:
        """The stacked parameters that need a gradient, because one network at least trains its part."""
        return [parameter for parameter, _ in self._shares if parameter.requires_grad]

    def share_gradients(self) -> None:
        """After a backward pass: gives every network views of its part of the gradients, and frozen parameters none.

        As long as the stacked gradients are set to zero or added to in place, the views stay valid. Zero them on
        :meth:`trained`, not on the networks: the part of a frozen network would add up.
        """
        for stacked, parameters in self._shares:
            pieces = (None,) * self.size if stacked.grad is None else stacked.grad.chunk(self.size)
            for parameter, piece in zip(parameters, pieces, strict=True):
                parameter.grad = piece if parameter.requires_grad else None

    def count(self, passes: int = 1) -> None:
        """After a training step: one batch more in every network's BatchNorm layers that are in training mode.

        The stacked layers do not count. All counters are one tensor, so this is one kernel as a rule.

        Args:
            passes: Forward passes of the step, each with a batch of its own.
        """
        training = [layer.training for layer in self._counted]
        if all(training):
            self.counters.add_(passes)
            return
        for row, counts in zip(self.counters, training, strict=True):
            if counts:
                row.add_(passes)

    def release(self) -> None:
        """Gives every network tensors of its own again, in the same memory layout. The stack is of no use after it."""
        for member in self.members:
            for tensor in itertools.chain(member.parameters(), member.buffers()):
                tensor.data = tensor.detach().clone()
                if tensor.grad is not None:
                    tensor.grad = tensor.grad.clone()
        self.members = ()
        self._shares = []

    @torch.no_grad()
    def _join(self, parts: Sequence[Tensor]) -> Tensor:
        """One tensor with the parts in dimension 0; the parts become views of it."""
        joined = torch.cat(list(parts))
        if joined.ndim == 4:
            layout = torch.channels_last if self.channels_last else torch.contiguous_format
            # A copy into new memory: for kernels of one pixel `contiguous` would leave the strides ambiguous.
            joined = torch.empty_like(joined, memory_format=layout).copy_(joined)
        for part, chunk in zip(parts, joined.chunk(self.size), strict=True):
            part.data = chunk
        return joined


def _widen(layer: nn.Module, size: int) -> None:
    """Sets the numbers that a layer's forward pass reads; its tensors follow."""
    if isinstance(layer, nn.Conv2d):
        layer.in_channels, layer.out_channels = layer.in_channels * size, layer.out_channels * size
        layer.groups *= size
    elif isinstance(layer, nn.BatchNorm2d):
        layer.num_features *= size
    elif hasattr(layer, "stack"):
        layer.stack = size  # pyright: ignore[reportAttributeAccessIssue, reportArgumentType]
