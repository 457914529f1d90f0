from __future__ import annotations

import pytest
import torch
from torch import nn

from tailwise.augment.pixel import Pixel
from tailwise.core.errors import TailwiseError
from tailwise.engine.recipe import Optim, Stage
from tailwise.engine.trainable import enter_modes, select_trainable
from tailwise.heads.linear import Linear
from tailwise.models.backbone import build_backbone
from tailwise.models.network import Network


def network() -> Network:
    backbone = build_backbone("resnet20", width=0.25)
    next(backbone.parameters()).requires_grad_(False)
    return Network(Pixel(0, (0.5,) * 3, (0.5,) * 3), backbone, Linear().build(16, 4))


def trained(found: Network) -> set[str]:
    return {name for name, item in found.named_parameters() if item.requires_grad}


def test_all_head_and_pattern_choose_parameters_and_leave_unused_ones_alone() -> None:
    found = network()
    names = {name for name, _ in found.named_parameters()}
    assert found.unused == {"backbone.conv1.weight"}
    select_trainable(found, Stage(optim=Optim()))
    assert trained(found) == names - found.unused
    select_trainable(found, Stage(trainable="head", optim=Optim()))
    assert trained(found) == {name for name in names if name.startswith("head.")}
    select_trainable(found, Stage(trainable=r"backbone\.stage3|head", optim=Optim()))
    assert all(name.startswith(("backbone.stage3", "head.")) for name in trained(found))
    with pytest.raises(TailwiseError, match="fits no parameter"):
        select_trainable(found, Stage(trainable="nothing", optim=Optim()))


def test_a_frozen_parameter_loses_its_gradient() -> None:
    found = network()
    select_trainable(found, Stage(optim=Optim()))
    found(torch.zeros(4, 3, 8, 8, dtype=torch.uint8)).sum().backward()
    select_trainable(found, Stage(trainable="head", optim=Optim()))
    assert all(item.grad is None for item in found.backbone.parameters())
    assert all(item.grad is not None for item in found.head.parameters())


@pytest.mark.parametrize(("mode", "training"), [("train", True), ("eval", False)])
def test_frozen_batch_norm_runs_in_the_mode_that_the_stage_names(mode: str, training: bool) -> None:
    found = network()
    stage = Stage(trainable="head", frozen_bn=mode, optim=Optim())  # pyright: ignore[reportArgumentType]
    select_trainable(found, stage)
    enter_modes(found, stage)
    norms = [module for module in found.modules() if isinstance(module, nn.BatchNorm2d)]
    assert {module.training for module in norms} == {training}
    assert found.head.training
