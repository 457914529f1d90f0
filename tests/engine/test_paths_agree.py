"""Host path, device-resident path and any number of workers: the same batches and the same run."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tailwise.augment.pixel import Pixel
from tailwise.core.stats import ClassStats
from tailwise.data.loader import HostSource
from tailwise.data.plan import make_plan
from tailwise.data.resident import ResidentSource
from tailwise.data.transforms import ItemTransform
from tailwise.engine.prepare import Prepared, prepare
from tailwise.engine.recipe import Data, Optim, Stage, Stream
from tailwise.engine.train import train
from tailwise.samplers.power import Power
from tests.helpers import metrics_of, result_of, same_weights, tiny_recipe, weights_of

CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """JPEG, PNG and palette files of several sizes, three classes."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 7), ("test", 2)):
        for label in ("a", "b", "c"):
            (tmp_path / "images" / split / label).mkdir(parents=True)
            for number in range(count):
                size = (int(rng.integers(10, 30)), int(rng.integers(10, 30)))
                image = Image.fromarray(rng.integers(0, 255, (*size, 3), dtype=np.uint8))
                if number % 3 == 2:
                    image = image.convert("P")
                name = f"{number}.{'jpg' if number % 3 == 0 else 'png'}"
                image.save(tmp_path / "images" / split / label / name)
    return tmp_path / "images"


def prepared(folder: Path, path: str) -> Prepared:
    data = Data(name="folder", location=str(folder), image_size=12, path=path)  # pyright: ignore[reportArgumentType]
    return prepare(data, CPU, lambda line: None)


def test_both_paths_give_equal_indices_and_equal_pixels(folder: Path) -> None:
    resident, host = prepared(folder, "resident"), prepared(folder, "host")
    assert resident.resident
    assert not host.resident
    assert resident.data.fingerprint == host.data.fingerprint
    assert resident.train_images is not None
    stage = Stage(streams={"main": Stream(batch=4), "balanced": Stream(sampler=Power(q=0.0), batch=3)}, optim=Optim())
    index = resident.index
    plan = make_plan(stage, Data(), index.labels, index.stats, seed=3, stage_number=0, epoch=1, progress=0.5, steps=5)
    fast = ResidentSource(resident.train_images, index.labels, CPU)
    for workers in (0, 2):
        slow = HostSource(
            host.splits.train,
            host.index.positions,
            host.index.labels,
            size=12,
            transform=None,
            workers=workers,
            device=CPU,
        )
        for start in (0, 3):
            seen = 0
            for left, right in zip(fast.batches(plan, start), slow.batches(plan, start), strict=True):
                assert left.keys() == right.keys() == {"main", "balanced"}
                for name in left:
                    for key in ("image", "label", "crop", "flip"):
                        assert torch.equal(left[name][key], right[name][key]), (name, key)
                seen += 1
            assert seen == 5 - start


@pytest.mark.parametrize("augmentation", ["none", "random_resized_crop"])
def test_without_pad_and_crop_no_border_reaches_the_network(augmentation: str) -> None:
    data = Data(augmentation=augmentation, flip=0.0, padding=4, image_size=12)  # pyright: ignore[reportArgumentType]
    stage = Stage(streams={"main": Stream(batch=4)}, optim=Optim())
    labels = np.repeat(np.arange(2), 4)
    plan = make_plan(stage, data, labels, ClassStats([4, 4]), seed=0, stage_number=0, epoch=0, progress=0.0, steps=2)
    images = np.random.default_rng(0).integers(0, 256, (8, 3, 12, 12), dtype=np.uint8)
    for step, batch in enumerate(ResidentSource(images, labels, CPU).batches(plan)):
        main = batch["main"]
        shown = Pixel(data.padding, data.mean, data.std).crop_and_flip(main["image"], main["crop"], main["flip"])
        assert torch.equal(shown, torch.from_numpy(images[plan.streams["main"].index[step]]))


def test_per_image_transforms_do_not_depend_on_the_number_of_workers(folder: Path) -> None:
    host = prepared(folder, "host")
    plan = make_plan(
        Stage(streams={"main": Stream(batch=6)}, optim=Optim()),
        Data(augmentation="random_resized_crop"),
        host.index.labels,
        host.index.stats,
        seed=0,
        stage_number=0,
        epoch=0,
        progress=0.0,
        steps=3,
    )
    found = []
    for workers in (0, 1, 2):
        source = HostSource(
            host.splits.train,
            host.index.positions,
            host.index.labels,
            size=8,
            transform=ItemTransform(8, 0.4),
            workers=workers,
            device=CPU,
        )
        found.append(torch.stack([batch["main"]["image"] for batch in source.batches(plan)]))
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    assert len({found[0][step].sum().item() for step in range(3)}) == 3


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_on_the_host_path_equals_one_on_the_resident_path(tmp_path: Path, workers: int) -> None:
    recipe = tiny_recipe("class-balanced-sampling")
    runs = []
    for path in ("resident", "host"):
        data = dataclasses.replace(recipe.data, path=path, workers=workers)
        runs.append(train(dataclasses.replace(recipe, data=data), tmp_path / path))
    assert same_weights(weights_of(runs[0]), weights_of(runs[1]))
    assert metrics_of(runs[0]) == metrics_of(runs[1])
    results = [result_of(run) for run in runs]
    assert [result["data"].pop("path") for result in results] == ["resident", "host"]
    assert results[0] == results[1]
