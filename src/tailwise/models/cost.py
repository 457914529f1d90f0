"""What a network costs at test time: parameters, and multiply-accumulates for one image."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class Cost:
    """The cost of one image at test time.

    Attributes:
        parameters: Numbers that are trained or could be; buffers such as BatchNorm's statistics are not counted.
        multiply_accumulates: Of convolutions and matrix products, a multiplication with its addition counted as one.
            Papers often call these FLOPs. BatchNorm, rectifiers, pooling and softmax are not counted.
    """

    parameters: int
    multiply_accumulates: int

    def __str__(self) -> str:
        """For people: ``0.46 M parameters, 68.9 M multiply-accumulates``."""
        return f"{_short(self.parameters)} parameters, {_short(self.multiply_accumulates)} multiply-accumulates"


def cost_of(network: nn.Module, image_size: int) -> Cost:
    """The cost of a network that takes uint8 images ``[B,3,H,W]``; nothing is computed and the network stays as it is.

    Args:
        network: On any device.
        image_size: Side of the square image in pixels.

    Raises:
        RuntimeError: The network needs values, so that it cannot run without data.
    """
    twin = copy.deepcopy(network).to("meta").eval()
    image = torch.zeros(1, 3, image_size, image_size, dtype=torch.uint8, device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        twin(image)
    # PyTorch counts a multiplication and its addition as two.
    return Cost(sum(item.numel() for item in network.parameters()), int(counter.get_total_flops()) // 2)


def _short(number: int) -> str:
    for unit, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= unit:
            return f"{number / unit:.3g} {letter}" if number < 10 * unit else f"{number / unit:.1f} {letter}"
    return str(number)
