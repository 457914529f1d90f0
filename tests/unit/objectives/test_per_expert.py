"""An objective for each expert: what each sees, and the sum."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from tailwise.core.errors import TailwiseError
from tailwise.core.stats import ClassStats
from tailwise.engine.recipe import Backbone
from tailwise.engine.task import Task
from tailwise.heads import Experts, Linear, ResLT
from tailwise.losses.influence_balanced import InfluenceBalanced
from tailwise.objectives.classification import Classification
from tailwise.objectives.per_expert import PerExpert
from tailwise.objectives.reslt import ResLT as ResLTObjective
from tailwise.objectives.ride import Ride
from tailwise.recipes.base import replace_stage
from tests.helpers import tiny_recipe

COUNTS = [400, 90, 20, 5]
STATS = ClassStats(COUNTS)
TARGET = torch.tensor([0, 1, 2, 3, 0, 0, 1, 2])


def logits(experts: int = 3) -> torch.Tensor:
    return torch.randn(experts, 8, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_the_total_is_the_sum_of_each_expert_s_mean_cross_entropy() -> None:
    outputs = {"main": logits().mean(0), **{f"expert{number}": item for number, item in enumerate(logits())}}
    parts = PerExpert().bind(STATS)(outputs, {"main": TARGET}, {"main": (0, 8)})
    assert list(parts) == [f"expert{number}/main/cross_entropy" for number in range(3)]
    for part, rows in zip(parts.values(), logits().numpy(), strict=True):
        shifted = rows - np.log(np.exp(rows).sum(1, keepdims=True))
        expected = -shifted[np.arange(8), TARGET.numpy()].mean()
        assert float(part.weight * part.numerator / part.denominator) == pytest.approx(expected, rel=1e-9)


def test_each_expert_s_branches_meet_the_residual_objective_as_a_network_of_its_own() -> None:
    head = Experts(inner=ResLT(branches=2), num_experts=2).build(6, 4, STATS).train()
    objective = ResLTObjective(branches=2, alpha=0.7)
    outputs = head(torch.randn(8, 6, 2, 2, generator=torch.Generator().manual_seed(0)))
    found = PerExpert(objective=objective).bind(STATS)(outputs, {"main": TARGET}, {"main": (0, 8)})
    for number in range(2):
        own = {name: outputs[f"expert{number}/{name}"] for name in ("branch0", "branch1")}
        alone = objective.bind(STATS)({"main": outputs[f"expert{number}"], **own}, {"main": TARGET}, {"main": (0, 8)})
        for name, part in alone.items():
            torch.testing.assert_close(found[f"expert{number}/{name}"], part)


def test_features_are_shared_out() -> None:
    objective = PerExpert(objective=Classification(loss=InfluenceBalanced()))
    bound = objective.bind(STATS)
    assert bound.needs_features
    features = torch.rand(8, 6, generator=torch.Generator().manual_seed(1))
    items = logits(2).float()
    outputs = {"main": items.mean(0), "expert0": items[0], "expert1": items[1], "features": features}
    parts = bound(outputs, {"main": TARGET}, {"main": (0, 8)})
    inner = Classification(loss=InfluenceBalanced()).bind(STATS)
    own = inner({"main": items[1], "features": features[:, 3:]}, {"main": TARGET}, {"main": (0, 8)})
    torch.testing.assert_close(list(parts.values())[1], next(iter(own.values())))


def test_a_head_without_experts_counts_as_one() -> None:
    outputs = {"main": logits()[0]}
    parts = PerExpert().bind(STATS)(outputs, {"main": TARGET}, {"main": (0, 8)})
    assert list(parts) == ["expert0/main/cross_entropy"]


def test_logits_that_the_experts_lack_are_named_before_training() -> None:
    recipe = tiny_recipe()
    objective = PerExpert(objective=ResLTObjective())
    for inner, message in ((Linear(), "unknown head output 'expert0/branch0'"), (ResLT(branches=2), "expert0/branch2")):
        backbone = Backbone(name="ride_resnet20", width=0.25)
        changed = dataclasses.replace(recipe, backbone=backbone, head=Experts(inner=inner))
        changed = replace_stage(changed, 0, objective=(objective,))
        with pytest.raises(TailwiseError, match=message):
            Task(changed, STATS).check(changed.stages[0])


@pytest.mark.parametrize("inner", [PerExpert(), Ride()])
def test_an_objective_of_all_experts_cannot_be_one_expert_s(inner: PerExpert | Ride) -> None:
    with pytest.raises(ValueError, match=f"objective must be one for a single network, got '{inner.name}'"):
        PerExpert(objective=inner)
