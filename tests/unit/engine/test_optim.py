"""Factors of the learning rate by the names of parameters."""

from __future__ import annotations

import dataclasses
import re

import pytest
import torch
from torch import nn

from tailwise.core.errors import TailwiseError
from tailwise.core.spec import from_yaml, to_yaml
from tailwise.engine.optim import make_optimizer, restore_optimizer, set_learning_rate
from tailwise.engine.recipe import Optim, Recipe
from tailwise.recipes.base import base_recipe, replace_stage

FACTORS = {r"backbone\.": 0.01, r"head\.fc\.bias": 2.0}


def network() -> nn.Module:
    torch.manual_seed(0)
    module = nn.Module()
    module.backbone, module.head = nn.Linear(3, 3), nn.Module()
    module.head.fc = nn.Linear(3, 2)
    return module


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_a_step_moves_each_parameter_by_its_factor(kind: str) -> None:
    spec = Optim(kind=kind, momentum=0.0, nesterov=False, weight_decay=0.0, lr_factors=FACTORS)  # type: ignore[arg-type]
    plain = dataclasses.replace(spec, lr_factors={})
    moved = []
    for optim in (spec, plain):
        module = network()
        before = {name: item.detach().clone() for name, item in module.named_parameters()}
        names, parameters = zip(*module.named_parameters(), strict=True)
        optimizer = make_optimizer(optim, parameters, names)
        set_learning_rate(optimizer, 0.3)
        for item in parameters:
            item.grad = torch.ones_like(item)
        optimizer.step()
        moved.append({name: item.detach() - before[name] for name, item in module.named_parameters()})
    for name, expected in moved[1].items():
        factor = 0.01 if name.startswith("backbone") else 2.0 if name == "head.fc.bias" else 1.0
        torch.testing.assert_close(moved[0][name], factor * expected, rtol=1e-4, atol=1e-7)


def test_factors_stay_after_a_restart() -> None:
    names, parameters = zip(*network().named_parameters(), strict=True)
    spec = Optim(lr_factors=FACTORS)
    first, second = make_optimizer(spec, parameters, names), make_optimizer(spec, parameters, names)
    restore_optimizer(second, first.state_dict())
    set_learning_rate(second, 0.5)
    assert sorted(float(group["lr"]) for group in second.param_groups) == pytest.approx([0.005, 0.5, 1.0])


def test_a_factor_enters_the_hash_only_when_it_is_given() -> None:
    recipe = base_recipe("digits")
    optim = recipe.stages[0].optim
    assert optim is not None
    changed = replace_stage(recipe, 0, optim=dataclasses.replace(optim, lr_factors=FACTORS))
    assert changed.hash != recipe.hash
    same = replace_stage(recipe, 0, optim=dataclasses.replace(optim, lr_factors={}))
    assert same.hash == recipe.hash == "a810dfcf7f9f"
    assert from_yaml(Recipe, to_yaml(changed), "") == changed


def test_messages() -> None:
    with pytest.raises(ValueError, match=re.escape("lr_factors['head'] must be a positive number, got 0")):
        Optim(lr_factors={"head": 0})
    with pytest.raises(ValueError, match=re.escape("lr_factors has '(', which is no regular expression")):
        Optim(lr_factors={"(": 1.0})
    names, parameters = zip(*network().named_parameters(), strict=True)
    with pytest.raises(TailwiseError) as error:
        make_optimizer(Optim(lr_factors={"bckbone": 0.1}), parameters, names)
    assert str(error.value) == (
        "lr_factors has 'bckbone', which fits no parameter; names begin like backbone.weight, backbone.bias, "
        "head.fc.weight, ... head.fc.bias"
    )
    with pytest.raises(TailwiseError, match="lr_factors are given by the names of the parameters"):
        make_optimizer(Optim(lr_factors=FACTORS), parameters)
