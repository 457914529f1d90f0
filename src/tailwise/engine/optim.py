"""SGD and AdamW through timm's factory, with the learning rate as a tensor so that a captured step can follow it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from timm.optim import create_optimizer_v2  # pyright: ignore[reportPrivateImportUsage]
from torch import nn

from tailwise.core.errors import TailwiseError
from tailwise.engine.recipe import Optim


def make_optimizer(
    spec: Optim, parameters: Iterable[nn.Parameter], names: Iterable[str] | None = None
) -> torch.optim.Optimizer:
    """The optimiser of a stage over the parameters that it trains.

    Weight decay acts on every parameter, BatchNorm and biases included. The fused kernels are used: they alone read
    the learning rate from memory. Parameters with another factor of the rate form a group of their own.

    Args:
        spec: Kind, rates and decay.
        parameters: Those of the network; frozen ones are left out.
        names: Their names, in the same order; needed where ``spec`` has ``lr_factors``.

    Raises:
        TailwiseError: Nothing is trainable, or a pattern of ``lr_factors`` fits no parameter.
    """
    parameters = list(parameters)
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    if not trained:
        raise TailwiseError("the stage trains no parameter; check its `trainable` field (all, head, or a pattern)")
    name = {"sgd": "sgd" if spec.nesterov else "momentum", "adamw": "adamw"}[spec.kind]
    keywords: dict[str, Any] = {"momentum": spec.momentum} if spec.kind == "sgd" else {}
    groups = _groups(spec, parameters, names) if spec.lr_factors else trained
    optimizer = create_optimizer_v2(
        groups,  # pyright: ignore[reportArgumentType]
        opt=name,
        lr=spec.lr,
        weight_decay=spec.weight_decay,
        filter_bias_and_bn=False,
        fused=True,
        foreach=False,
        **keywords,
    )
    for group in optimizer.param_groups:
        group["lr"] = torch.tensor(spec.lr * lr_factor(group), dtype=torch.float32, device=trained[0].device)
    return optimizer


def factor_of(spec: Optim, name: str) -> float:
    """The factor of the rate for a parameter: that of the first pattern that fits its name, or 1."""
    return next((factor for pattern, factor in spec.lr_factors.items() if re.match(pattern, name)), 1.0)


def check_lr_factors(spec: Optim, names: Iterable[str]) -> None:
    """Refuses a pattern of ``lr_factors`` that fits no parameter.

    Raises:
        TailwiseError: Names the pattern and some parameters.
    """
    names = list(names)
    for pattern in spec.lr_factors:
        if not any(re.match(pattern, name) for name in names):
            raise TailwiseError(
                f"lr_factors has {pattern!r}, which fits no parameter; names begin like {', '.join(names[:3])}, ... "
                f"{names[-1]}"
            )


def lr_factor(group: Mapping[str, Any]) -> float:
    """The factor of a parameter group; groups that were saved before there were factors have none."""
    return float(group.get("lr_factor", 1.0))


def set_learning_rate(optimizer: torch.optim.Optimizer, value: float) -> None:
    """Writes the rate, times the factor of the group, into every group's tensor."""
    for group in optimizer.param_groups:
        group["lr"].fill_(value)
        if lr_factor(group) != 1:
            # In the tensor's precision, as a captured step multiplies.
            group["lr"].mul_(lr_factor(group))


def _groups(spec: Optim, parameters: Sequence[nn.Parameter], names: Iterable[str] | None) -> list[dict[str, Any]]:
    """A group for each factor that occurs among the trained parameters."""
    if names is None:
        raise TailwiseError("lr_factors are given by the names of the parameters, and there are no names here")
    named = dict(zip(names, parameters, strict=True))
    check_lr_factors(spec, named)
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in named.items():
        if parameter.requires_grad:
            groups.setdefault(factor_of(spec, name), []).append(parameter)
    return [{"params": members, "lr_factor": factor} for factor, members in groups.items()]


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
