"""AutoAugment in the plan, in the host path's workers and on the device."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tailwise.augment.pixel import Pixel
from tailwise.core.errors import UnknownName
from tailwise.core.spec import spec_hash, to_plain
from tailwise.core.stats import ClassStats
from tailwise.data.loader import HostSource
from tailwise.data.plan import EpochPlan, make_plan
from tailwise.data.resident import ResidentSource
from tailwise.data.transforms import ItemTransform
from tailwise.engine.prepare import Prepared, prepare
from tailwise.engine.recipe import Data, Optim, Stage, Stream
from tailwise.engine.train import train
from tests.helpers import same_weights, tiny_recipe, weights_of

CPU = torch.device("cpu")
SIZE = 24


def plan(data: Data, labels: np.ndarray) -> EpochPlan:
    stage = Stage(streams={"main": Stream(batch=6)}, optim=Optim())
    stats = ClassStats(np.bincount(labels))
    return make_plan(stage, data, labels, stats, seed=1, stage_number=0, epoch=0, progress=0.0, steps=3)


@pytest.fixture
def prepared(tmp_path: Path) -> Prepared:
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for label in ("a", "b"):
            (tmp_path / split / label).mkdir(parents=True)
            for number in range(6):
                image = Image.fromarray(rng.integers(0, 255, (30, 36, 3), dtype=np.uint8))
                image.save(tmp_path / split / label / f"{number}.png")
    data = Data(name="folder", location=str(tmp_path), image_size=SIZE, path="host")
    return prepare(data, CPU, lambda line: None)


def host(prepared: Prepared, transform: ItemTransform | None, workers: int = 0) -> HostSource:
    return HostSource(
        prepared.splits.train,
        prepared.index.positions,
        prepared.index.labels,
        size=SIZE,
        transform=transform,
        workers=workers,
        device=CPU,
    )


def test_the_plan_of_a_recipe_without_it_stays_as_it_was_and_so_does_its_hash() -> None:
    labels = np.repeat(np.arange(2), 12)
    without, with_it = plan(Data(), labels), plan(Data(auto_augment="cifar10"), labels)
    for name in ("index", "crop", "flip", "item_seed"):
        assert np.array_equal(getattr(without.streams["main"], name), getattr(with_it.streams["main"], name))
    assert without.streams["main"].auto_operation is None
    assert with_it.streams["main"].auto_operation is not None
    assert with_it.rank_slice(1, 2).streams["main"].auto_operation.shape == (3, 3, 2)  # type: ignore[union-attr]
    assert "auto_augment" not in to_plain(Data(), hashed_only=True)
    assert spec_hash(Data()) != spec_hash(Data(auto_augment="cifar10"))


def test_workers_and_device_give_the_same_images_within_a_level_for_each_operation(prepared: Prepared) -> None:
    data = Data(augmentation="random_resized_crop", image_size=SIZE, auto_augment="imagenet")
    drawn = plan(data, prepared.index.labels)
    pixel = Pixel(data.padding, (0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255))
    plain = EpochPlan({name: part.without_auto_augment() for name, part in drawn.streams.items()}, drawn.draws)
    shown = host(prepared, ItemTransform(SIZE)).batches(drawn)
    moved = 0.0
    for step, (done, bare) in enumerate(zip(shown, host(prepared, ItemTransform(SIZE)).batches(plain), strict=True)):
        assert "auto_operation" not in done["main"]
        stream = drawn.streams["main"]
        bare["main"]["auto_operation"] = torch.from_numpy(stream.auto_operation[step])  # type: ignore[index]
        bare["main"]["auto_magnitude"] = torch.from_numpy(stream.auto_magnitude[step])  # type: ignore[index]
        on_device, in_workers = pixel.augment(bare["main"]), pixel.augment(done["main"])
        assert float((on_device - in_workers).abs().max()) <= 2
        without = {key: value for key, value in bare["main"].items() if not key.startswith("auto")}
        moved += float((pixel.augment(without) - in_workers).abs().mean())
    assert moved > 10


@pytest.mark.parametrize("workers", [1, 2])
def test_what_workers_do_does_not_depend_on_their_number(prepared: Prepared, workers: int) -> None:
    data = Data(augmentation="random_resized_crop", image_size=SIZE, auto_augment="cifar10")
    drawn = plan(data, prepared.index.labels)
    alone = [batch["main"]["image"] for batch in host(prepared, ItemTransform(SIZE)).batches(drawn)]
    many = [batch["main"]["image"] for batch in host(prepared, ItemTransform(SIZE), workers).batches(drawn)]
    assert torch.equal(torch.stack(alone), torch.stack(many))


def test_images_that_are_cropped_on_the_device_get_it_there_on_both_paths(prepared: Prepared) -> None:
    drawn = plan(Data(image_size=SIZE, auto_augment="cifar10"), prepared.index.labels)
    slow = list(host(prepared, None).batches(drawn))
    images = np.stack([slow[0]["main"]["image"][0].numpy()] * len(prepared.index.labels))
    fast = list(ResidentSource(images, prepared.index.labels, CPU).batches(drawn))
    for left, right in zip(slow, fast, strict=True):
        for name in ("auto_operation", "auto_magnitude"):
            assert torch.equal(left["main"][name], right["main"][name])


def test_it_acts_after_crop_and_flip_and_before_normalisation() -> None:
    image = torch.randint(0, 256, (1, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    stream = {
        "image": image,
        "crop": torch.tensor([[0, 3]]),
        "flip": torch.tensor([True]),
        "auto_operation": torch.tensor([[14, 0]]),
        "auto_magnitude": torch.zeros(1, 2),
    }
    pixel = Pixel(2, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    expected = ((255 - pixel.crop_and_flip(image, stream["crop"], stream["flip"]).float()) / 255 - 0.5) / 0.25
    torch.testing.assert_close(pixel.augment(stream), expected)  # the black border is inverted too


def test_a_run_with_it_differs_from_one_without(tmp_path: Path) -> None:
    recipe = tiny_recipe(epochs=1)
    strong = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, auto_augment="cifar10"))
    with_it, without = (train(item, tmp_path / str(number)) for number, item in enumerate((strong, recipe)))
    assert not same_weights(weights_of(with_it), weights_of(without))


def test_a_wrong_policy_is_refused_before_anything_starts() -> None:
    with pytest.raises(UnknownName, match="unknown AutoAugment policy 'imagenet1k'; did you mean 'imagenet'"):
        Data(auto_augment="imagenet1k")  # type: ignore[arg-type]
