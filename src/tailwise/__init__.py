"""tailwise: long-tailed image recognition on one engine.

The parts work alone: ``tailwise.losses.BalancedSoftmax().bind(counts)`` is a loss for anybody's loop,
``tailwise.samplers.EpochSampler`` a sampler for anybody's loader. Together they are a recipe:
``tailwise.train(tailwise.load_recipe("balanced-softmax", data="path/to/images"))``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tailwise.commands.resolve import load_recipe as load_recipe
    from tailwise.core.errors import TailwiseError as TailwiseError
    from tailwise.core.stats import ClassStats as ClassStats
    from tailwise.deliver.predictor import load as load
    from tailwise.engine.recipe import Recipe as Recipe
    from tailwise.engine.train import train as train
    from tailwise.own.fit import fit as fit
    from tailwise.report.ledger import Result as Result

__all__ = ["ClassStats", "Recipe", "Result", "TailwiseError", "fit", "load", "load_recipe", "train"]


def __getattr__(name: str) -> Any:
    """Public names are imported when they are first used, so that importing the package costs nothing."""
    homes = {
        "ClassStats": "tailwise.core.stats",
        "Recipe": "tailwise.engine.recipe",
        "Result": "tailwise.report.ledger",
        "TailwiseError": "tailwise.core.errors",
        "fit": "tailwise.own.fit",
        "load": "tailwise.deliver.predictor",
        "load_recipe": "tailwise.commands.resolve",
        "train": "tailwise.engine.train",
    }
    if name in homes:
        return getattr(importlib.import_module(homes[name]), name)
    if name in ("augment", "calibration", "data", "heads", "losses", "models", "objectives", "posthoc", "samplers"):
        return importlib.import_module(f"tailwise.{name}")
    raise AttributeError(f"module 'tailwise' has no attribute {name!r}")
