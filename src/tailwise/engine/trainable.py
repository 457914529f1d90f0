"""Which parameters a stage trains, and in which mode the frozen BatchNorm layers run."""

from __future__ import annotations

import re

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage]

from tailwise.core.errors import TailwiseError
from tailwise.engine.recipe import Stage
from tailwise.models.network import Network


def select_trainable(network: Network, stage: Stage) -> None:
    """Sets ``requires_grad`` by the stage's ``trainable`` field and drops the gradients of what is frozen.

    Raises:
        TailwiseError: The pattern fits no parameter.
    """
    pattern = {"all": "", "head": r"head\."}.get(stage.trainable, stage.trainable)
    trained = 0
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name not in network.unused and re.match(pattern, name) is not None)
        trained += parameter.requires_grad
        if not parameter.requires_grad:
            # An optimiser carried on from an earlier stage must not move it by old momentum or decay.
            parameter.grad = None
    if not trained:
        names = ", ".join(name for name, _ in list(network.named_parameters())[:3])
        raise TailwiseError(f"trainable={stage.trainable!r} fits no parameter; names begin like {names}, ...")


def enter_modes(network: nn.Module, stage: Stage) -> None:
    """Training mode, with frozen BatchNorm layers in evaluation mode unless the stage says otherwise.

    classifier-balancing freezes weights but leaves BatchNorm in training mode: ``frozen_bn="train"``.
    """
    network.train()
    if stage.frozen_bn == "train":
        return
    for module in network.modules():
        held = list(module.parameters()) if isinstance(module, _BatchNorm) else []
        if held and not any(item.requires_grad for item in held):
            module.eval()
