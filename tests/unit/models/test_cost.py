"""Parameters and multiply-accumulates against numbers worked out by hand."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from tailwise.cli import main
from tailwise.core.errors import TailwiseError
from tailwise.core.spec import from_yaml
from tailwise.engine.cost import recipe_cost
from tailwise.engine.recipe import Backbone, Recipe
from tailwise.models.cost import Cost, cost_of
from tailwise.recipes.base import base_recipe, make_recipe
from tailwise.recipes.experts import ride_with


def blocks(into: int, width: int, side: int) -> int:
    """Multiply-accumulates of a stage of five blocks of two 3 x 3 convolutions, the first with another input."""
    return 9 * side * side * width * (into + 9 * width)


def test_resnet32_costs_what_its_layers_cost() -> None:
    cost = recipe_cost(base_recipe("cifar10"), 10)
    stem = 9 * 3 * 16 * 32 * 32
    stages = blocks(16, 16, 32) + blocks(16, 32, 16) + blocks(32, 64, 8)
    assert cost.multiply_accumulates == stem + stages + 64 * 10 == 68_862_592
    weights = 9 * (3 * 16 + 16 * 16 * 10 + 16 * 32 + 32 * 32 * 9 + 32 * 64 + 64 * 64 * 9)
    norms = 2 * (11 * 16 + 10 * 32 + 10 * 64)
    assert cost.parameters == weights + norms + 64 * 10 + 10 == 464_154
    assert str(cost) == "464.2 k parameters, 68.9 M multiply-accumulates"


@pytest.mark.parametrize("experts", [2, 3, 4])
def test_every_expert_adds_its_stages_and_its_head(experts: int) -> None:
    cost = recipe_cost(ride_with(base_recipe("cifar100"), experts), 100)
    shared = 9 * 3 * 16 * 32 * 32 + blocks(16, 16, 32)
    assert cost.multiply_accumulates == shared + experts * (blocks(16, 24, 16) + blocks(24, 48, 8) + 48 * 100)


def test_resnext50_costs_what_is_printed_of_it() -> None:
    recipe = dataclasses.replace(
        base_recipe("cifar10"), backbone=Backbone(name="ride_resnext50", experts=1, reduced=False)
    )
    recipe = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, image_size=224))
    cost = recipe_cost(recipe, 1000)
    # 25.0 million parameters and 4.2 GFLOPs in torchvision's table of models.
    assert cost.parameters == 25_028_904
    assert cost.multiply_accumulates == pytest.approx(4.23e9, rel=0.005)


def test_counting_leaves_the_network_as_it_is() -> None:
    network = torch.nn.Sequential(_Float(), torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert cost_of(network, 8) == Cost(3 * 4 * 9 + 4 + 8, 3 * 4 * 9 * 36)
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


class _Float(torch.nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image.float()


def test_a_network_that_cannot_be_built_has_no_known_cost() -> None:
    recipe: Recipe = dataclasses.replace(base_recipe("cifar10"), backbone=Backbone(name="resnet32", experts=2))
    with pytest.raises(TailwiseError, match="has no experts"):
        recipe_cost(recipe, 10)


def test_show_tells_the_cost_and_still_gives_a_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "ride", "--data", "cifar100"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[1] == (
        "# at test time, one image of 32 x 32 pixels, 100 classes: 783.9 k parameters, 100.4 M multiply-accumulates"
    )
    assert from_yaml(Recipe, "\n".join(shown), "shown").name == "ride"


def test_show_says_when_the_cost_is_not_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "ce", "--data", "cifar10", "--backbone.experts", "2"]) == 0
    assert "# cost at test time not known: backbone 'resnet32' has no experts" in capsys.readouterr().out


def test_all_recipes_have_a_known_cost() -> None:
    for name in ("ce", "ride", "reslt-experts", "ce-strong"):
        assert recipe_cost(make_recipe(name, base_recipe("digits")), 10).multiply_accumulates > 10**6
