"""Things that several test files need."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tailwise import Recipe, load_recipe
from tailwise.heads.experts import Experts
from tailwise.recipes.base import replace_stream


def shared_path(name: str) -> Path:
    """A file of the reference data that lies beside the checkout (or in ``$TAILWISE_SHARED``), or a skip without it."""
    base = Path(os.environ.get("TAILWISE_SHARED", Path(__file__).resolve().parents[2] / "shared"))
    path = base / name
    if not path.exists():
        pytest.skip(f"reference data {name!r} not found beside the checkout; set TAILWISE_SHARED to its folder")
    return path


def tiny_recipe(name: str = "ce", *, epochs: int = 2, changes: tuple[str, ...] = (), **run: object) -> Recipe:
    """A recipe that trains in under a second on made-up images: 160 of 16x16 pixels in 4 classes, 2 steps an epoch."""
    recipe = load_recipe(name, data="synthetic", epochs=epochs, changes=("backbone=resnet20(width=0.25)", *changes))
    if isinstance(recipe.head, Experts):
        backbone = dataclasses.replace(recipe.backbone, name="ride_resnet20", experts=recipe.head.num_experts)
        recipe = dataclasses.replace(recipe, backbone=backbone)
    recipe = replace_stream(recipe, 0, batch=32)
    data = dataclasses.replace(recipe.data, image_size=8, flip=0.5)
    return dataclasses.replace(
        recipe,
        data=data,
        evaluate=dataclasses.replace(recipe.evaluate, every=1),
        run=dataclasses.replace(recipe.run, **{"device": "cpu", **run}),
    )


#: Fields of a result that may differ between two equal runs.
NOT_COMPARED = ("seconds", "startup_seconds", "executor", "at_once", "date", "command", "environment", "memory")


def result_of(folder: Path) -> dict[str, Any]:
    """The result in a run folder, without what differs between two equal runs."""
    result = json.loads((folder / "result.json").read_text())
    return {key: value for key, value in result.items() if key not in NOT_COMPARED}


def metrics_of(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics, without times."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [
        {key: value for key, value in line.items() if key not in ("seconds", "images_per_second")} for line in lines
    ]


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    """The final weights of a run."""
    return load_file(folder / "model.safetensors")


def same_weights(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    """Equality bit for bit."""
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)
