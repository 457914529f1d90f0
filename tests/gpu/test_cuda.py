"""The same engine on a CUDA device."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from tailwise.augment.pixel import Pixel
from tailwise.engine.loop import Interrupted, Loop
from tailwise.engine.train import train
from tests.helpers import metrics_of, result_of, tiny_recipe

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize(("precision", "ema"), [("fp32", None), ("bf16", None), ("fp32", 0.9)])
def test_a_run_on_the_device_learns_what_a_run_on_the_cpu_learns(
    tmp_path: Path, precision: str, ema: float | None
) -> None:
    recipe = dataclasses.replace(tiny_recipe(epochs=6), precision=precision, ema=ema)
    there = dataclasses.replace(recipe, run=dataclasses.replace(recipe.run, device="cuda"))
    cpu, gpu = result_of(train(recipe, tmp_path / "cpu")), result_of(train(there, tmp_path / "gpu"))
    assert gpu["device"].startswith("cuda")
    assert gpu["recipe_hash"] == cpu["recipe_hash"]
    assert abs(gpu["last"]["top1"] - cpu["last"]["top1"]) < 15
    first = [metrics_of(tmp_path / place)[0]["loss"] for place in ("cpu", "gpu")]
    assert first[0] == pytest.approx(first[1], rel=0.05)


def test_pixels_are_those_of_the_cpu() -> None:
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.integers(0, 256, (9, 3, 32, 32), dtype=np.uint8))
    crop, flip = torch.from_numpy(rng.integers(0, 9, (9, 2))), torch.from_numpy(rng.random(9) < 0.5)
    pixel = Pixel(4, (0.4, 0.5, 0.6), (0.2, 0.2, 0.2))
    expected = pixel.crop_and_flip(images, crop, flip)
    assert torch.equal(pixel.cuda().crop_and_flip(images.cuda(), crop.cuda(), flip.cuda()).cpu(), expected)


def test_both_paths_give_one_run_on_the_device(tmp_path: Path) -> None:
    recipe = tiny_recipe()
    runs = []
    for path in ("resident", "host"):
        data = dataclasses.replace(recipe.data, path=path)
        there = dataclasses.replace(recipe, data=data, run=dataclasses.replace(recipe.run, device="cuda"))
        runs.append(metrics_of(train(there, tmp_path / path))[0]["loss"])
    assert runs[0] == pytest.approx(runs[1], rel=1e-3)


def test_a_stopped_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tiny_recipe(device="cuda")
    original = Loop.__init__

    def with_a_stop(loop: Loop, *arguments: object) -> None:
        original(loop, *arguments)  # pyright: ignore[reportArgumentType]
        loop.stop = lambda: loop.live[0].step == 3

    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(Loop, "__init__", with_a_stop)
        train(recipe, tmp_path / "run")
    resumed = train(recipe, tmp_path / "run", resume=True)
    assert result_of(resumed)["steps"] == 10
