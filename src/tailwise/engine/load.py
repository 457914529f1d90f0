"""A finished run's recipe, network and result, from its folder."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from tailwise.core.errors import RunError
from tailwise.core.stats import ClassStats
from tailwise.engine.checkpoint import load_weights
from tailwise.engine.recipe import Recipe
from tailwise.engine.run_folder import read_recipe
from tailwise.engine.task import Task
from tailwise.models.network import Network
from tailwise.report.ledger import Result


def load_network(folder: Path) -> tuple[Recipe, Network, Result]:
    """Reads a run folder; the network is on the CPU in evaluation mode.

    Raises:
        RunError: No finished run there, or weights that do not fit its recipe.
    """
    result = Result.from_folder(folder)
    recipe = read_recipe(folder / "recipe.yaml")
    bare = dataclasses.replace(recipe, backbone=dataclasses.replace(recipe.backbone, pretrained=False, weights=None))
    network = Task(bare, ClassStats(result.class_counts)).network.for_inference()
    try:
        network.load_state_dict(load_weights(folder / "model.safetensors"))
    except RuntimeError as error:
        raise RunError(f"the weights in {folder} do not fit its recipe: {error}") from error
    return recipe, network.eval(), result
