"""SGD and AdamW through timm's factory, with the learning rate as a tensor so that a captured step can follow it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from timm.optim import create_optimizer_v2  # pyright: ignore[reportPrivateImportUsage]
from torch import nn

from tailwise.core.errors import TailwiseError
from tailwise.engine.recipe import Optim


def make_optimizer(spec: Optim, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """The optimiser of a stage over the parameters that it trains.

    Weight decay acts on every parameter, BatchNorm and biases included. The fused kernels are used: they alone read
    the learning rate from memory.

    Raises:
        TailwiseError: Nothing is trainable.
    """
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    if not trained:
        raise TailwiseError("the stage trains no parameter; check its `trainable` field (all, head, or a pattern)")
    name = {"sgd": "sgd" if spec.nesterov else "momentum", "adamw": "adamw"}[spec.kind]
    keywords: dict[str, Any] = {"momentum": spec.momentum} if spec.kind == "sgd" else {}
    optimizer = create_optimizer_v2(
        trained,  # pyright: ignore[reportArgumentType]
        opt=name,
        lr=spec.lr,
        weight_decay=spec.weight_decay,
        filter_bias_and_bn=False,
        fused=True,
        foreach=False,
        **keywords,
    )
    for group in optimizer.param_groups:
        group["lr"] = torch.tensor(spec.lr, dtype=torch.float32, device=trained[0].device)
    return optimizer


def set_learning_rate(optimizer: torch.optim.Optimizer, value: float) -> None:
    """Writes the rate into every group's tensor."""
    for group in optimizer.param_groups:
        group["lr"].fill_(value)


def restore_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Loads a saved state, keeping every learning rate a tensor on its parameters' device."""
    optimizer.load_state_dict(state)
    for group in optimizer.param_groups:
        group["lr"] = torch.as_tensor(group["lr"], dtype=torch.float32).to(group["params"][0].device)
        if "capturable" in group:
            # It was saved in the midst of captured steps; those that follow may be ordinary ones.
            group["capturable"] = False
    match_layout(optimizer)


def match_layout(optimizer: torch.optim.Optimizer) -> None:
    """Gives the optimiser's state the memory layout of its parameters: the fused kernels walk through both in step."""
    for parameter, values in optimizer.state.items():
        for name, value in values.items():
            if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                values[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
