"""Training from an image pack: both paths the same, and where the pixels are the same, the same run as without it."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional as F

from tailwise.augment.pixel import Pixel
from tailwise.core.spec import from_yaml
from tailwise.core.types import Batch
from tailwise.data import pack_resident
from tailwise.data.open import Splits, open_data
from tailwise.data.pack_format import Mode
from tailwise.data.pack_host import PackedHostSource
from tailwise.data.pack_resident import PackedResidentSource
from tailwise.data.pack_square_host import SquareHostSource
from tailwise.data.pack_writer import new_header, write_pack
from tailwise.data.plan import EpochPlan, make_plan
from tailwise.data.resident import ResidentSource
from tailwise.engine.buffers import EpochBuffers
from tailwise.engine.prepare import Prepared, prepare
from tailwise.engine.program import StepProgram
from tailwise.engine.recipe import Data, Optim, Recipe, Stage, Stream
from tailwise.engine.runtime import Runtime
from tailwise.engine.sources import make_source, make_split
from tailwise.engine.step import EagerExecutor
from tailwise.engine.train import train
from tailwise.recipes.base import replace_stage
from tailwise.samplers.power import Power
from tests.engine.test_program import begun
from tests.helpers import metrics_of, result_of, same_weights, tiny_recipe, weights_of

CPU = torch.device("cpu")
STAGE = Stage(streams={"main": Stream(batch=6), "balanced": Stream(sampler=Power(q=0.0), batch=4)}, optim=Optim())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """JPEG and PNG files of many shapes, three classes, one file damaged."""
    base = tmp_path_factory.mktemp("data") / "images"
    rng = np.random.default_rng(0)
    for split, count in (("train", 8), ("test", 3)):
        for label in ("a", "b", "c"):
            (base / split / label).mkdir(parents=True)
            for number in range(count):
                shape = (int(rng.integers(20, 50)), int(rng.integers(20, 50)), 3)
                name = f"{number}.{'jpg' if number % 3 == 0 else 'png'}"
                Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(base / split / label / name)
    (base / "train" / "b" / "5.png").write_text("no image")
    return base


@pytest.fixture(scope="module")
def splits(folder: Path) -> Splits:
    return open_data("folder", location=folder)


@pytest.fixture(scope="module")
def packs(splits: Splits, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    base, found = tmp_path_factory.mktemp("packs"), {}
    modes: tuple[tuple[Mode, int], ...] = (("short", 18), ("square", 18), ("square", 12))
    for mode, size in modes:
        found[f"{mode}-{size}"] = str(base / f"{mode}-{size}")
        write_pack(base / f"{mode}-{size}", splits, new_header(splits, mode, size, ""))
    return found


def data_of(folder: Path, **changes: object) -> Data:
    return dataclasses.replace(
        Data(name="folder", location=str(folder), image_size=12, path="resident", workers=2),
        **changes,  # pyright: ignore[reportArgumentType]
    )


def cropped(folder: Path, pack: str, **changes: object) -> Data:
    settings = {"augmentation": "random_resized_crop", "color_jitter": 0.4, "eval_zoom": 1.5, **changes}
    return data_of(folder, pack=pack, **settings)


def plan_of(prepared: Prepared, steps: int = 4) -> EpochPlan:
    index = prepared.index
    return make_plan(
        STAGE,
        prepared.data,
        index.labels,
        index.stats,
        seed=1,
        stage_number=0,
        epoch=0,
        progress=0.5,
        steps=steps,
        sizes=prepared.sizes,
    )


def shown(batch: Batch, data: Data) -> dict[str, torch.Tensor]:
    pixel = Pixel(data.padding, data.mean, data.std)
    return {name: pixel.augment(batch[name]) for name in ("main", "balanced")}


def silent(data: Data) -> Prepared:
    return prepare(data, CPU, lambda line: None)


@pytest.mark.parametrize("kind", ["short-18", "square-18"])
@pytest.mark.parametrize("workers", [0, 1, 3])
def test_host_and_resident_crops_are_equal_bit_for_bit(
    folder: Path, packs: dict[str, str], kind: str, workers: int
) -> None:
    prepared = silent(cropped(folder, packs[kind]))
    assert prepared.pack is not None
    images, index = prepared.pack.train, prepared.index
    resident = PackedResidentSource(images, index.positions, index.labels, size=12, device=CPU)
    host = PackedHostSource(images, index.positions, index.labels, size=12, workers=workers, device=CPU)
    for rank, world in ((0, 1), (1, 2)):
        plan = plan_of(prepared).rank_slice(rank, world)
        for start in (0, 3):
            pairs = list(zip(resident.batches(plan, start), host.batches(plan, start), strict=True))
            assert len(pairs) == 4 - start
            for left, right in pairs:
                ours, theirs = shown(left, prepared.data), shown(right, prepared.data)
                for name, image in ours.items():
                    assert image.shape == (STAGE.streams[name].batch // world, 3, 12, 12)
                    assert torch.equal(image, theirs[name])
                    assert torch.equal(left[name]["label"], right[name]["label"])


def test_batches_show_what_torchvision_cuts_from_the_packed_images(folder: Path, packs: dict[str, str]) -> None:
    prepared = silent(cropped(folder, packs["short-18"], color_jitter=0.0))
    assert prepared.pack is not None
    plan, source = plan_of(prepared), make_source(recipe_for(prepared.data), prepared, Runtime("cpu", "fp32"))
    mean = torch.tensor(prepared.data.mean).view(3, 1, 1) * 255
    std = torch.tensor(prepared.data.std).view(3, 1, 1) * 255
    seen = 0
    for step, batch in enumerate(source.batches(plan)):
        for name, images in shown(batch, prepared.data).items():
            stream = plan.streams[name]
            assert stream.box is not None
            for row, ours in enumerate(images):
                position = int(prepared.index.positions[stream.index[step, row]])
                whole = torch.from_numpy(np.array(prepared.pack.train.image(position))).permute(2, 0, 1).float()
                expected = F.resized_crop(whole, *stream.box[step, row].tolist(), size=[12, 12], antialias=False)
                expected = F.horizontal_flip(expected) if stream.flip[step, row] else expected
                torch.testing.assert_close(ours * std + mean, expected, rtol=1e-5, atol=2e-3)
                assert batch[name]["label"][row] == prepared.splits.train.labels[position]
                seen += 1
    assert seen == 40


def test_rows_of_fixed_buffers_become_the_same_batches(folder: Path, packs: dict[str, str]) -> None:
    prepared = silent(cropped(folder, packs["short-18"]))
    plan, source = plan_of(prepared), make_source(recipe_for(prepared.data), prepared, Runtime("cpu", "fp32"))
    assert isinstance(source, PackedResidentSource)
    buffers = EpochBuffers(plan, source, CPU)
    for step, batch in enumerate(source.batches(plan)):
        there = buffers.batch(torch.tensor([step]))
        for name in ("main", "balanced"):
            assert batch[name].keys() == there[name].keys()
            assert all(torch.equal(batch[name][key], there[name][key]) for key in batch[name])


@pytest.mark.slow
def test_a_compiled_program_trains_from_a_pack_as_ordinary_steps_do(
    folder: Path, packs: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager", fullgraph=True))
    recipe = recipe_for(cropped(folder, packs["short-18"]), epochs=1)
    (plain,), runtime, work = begun(recipe, tmp_path / "plain")
    for _ in EagerExecutor(runtime, [plain]).steps(work):
        pass
    for runs in (1, 2):
        trainings, runtime, other = begun(recipe, tmp_path / f"program{runs}", runs)
        program = StepProgram(trainings, runtime, other, compiled=True)
        program.load(other)
        for _ in other[0].rates:
            program()
        torch.testing.assert_close(other[0].meter.losses, work[0].meter.losses, rtol=1e-3, atol=1e-3)


def test_buffers_of_an_epoch_have_one_size(folder: Path, packs: dict[str, str]) -> None:
    prepared = silent(cropped(folder, packs["short-18"], path="host"))
    assert not prepared.resident
    source = make_source(recipe_for(prepared.data), prepared, Runtime("cpu", "fp32"))
    assert isinstance(source, PackedHostSource)
    shapes = {batch["main"]["flat"].shape for batch in source.batches(plan_of(prepared))}
    assert len(shapes) == 1
    assert shapes.pop()[0] < plan_of(prepared).streams["main"].index.shape[1] * 2 * 18 * 45


def test_a_reader_that_stops_early_leaves_no_thread_waiting(folder: Path, packs: dict[str, str]) -> None:
    prepared = silent(cropped(folder, packs["short-18"], path="host"))
    source = make_source(recipe_for(prepared.data), prepared, Runtime("cpu", "fp32"))
    batches = source.batches(plan_of(prepared, steps=50))
    first = shown(next(iter(batches)), prepared.data)
    del batches
    again = shown(next(iter(source.batches(plan_of(prepared, steps=50)))), prepared.data)
    assert torch.equal(first["main"], again["main"])


@pytest.mark.parametrize("kind", ["short-18", "square-12"])
def test_squares_of_both_paths_are_equal(folder: Path, packs: dict[str, str], kind: str) -> None:
    prepared = silent(data_of(folder, pack=packs[kind]))
    assert prepared.pack is not None
    assert prepared.train_images is not None
    index, plan = prepared.index, plan_of(prepared)
    resident = ResidentSource(prepared.train_images, index.labels, CPU)
    host = SquareHostSource(prepared.pack.train, index.positions, index.labels, size=12, workers=2, device=CPU)
    for left, right in zip(resident.batches(plan), host.batches(plan), strict=True):
        for name in ("main", "balanced"):
            assert left[name].keys() == right[name].keys()
            assert all(torch.equal(left[name][key], right[name][key]) for key in left[name])


@pytest.mark.parametrize("zoom", [1.0, 1.5])
@pytest.mark.parametrize(("rank", "world"), [(0, 1), (1, 2)])
def test_evaluation_images_of_both_paths_are_equal(
    folder: Path, packs: dict[str, str], zoom: float, rank: int, world: int
) -> None:
    class Share:
        def __init__(self) -> None:
            self.rank, self.world, self.device = rank, world, CPU

    found = []
    for path in ("resident", "host"):
        prepared = silent(cropped(folder, packs["short-18"], path=path, eval_zoom=zoom))
        recipe = recipe_for(prepared.data)
        recipe = dataclasses.replace(recipe, evaluate=dataclasses.replace(recipe.evaluate, batch=4))
        batches = list(make_split(recipe, prepared, Share()))  # pyright: ignore[reportArgumentType]
        assert len(batches) == (3 if world == 1 else 1)
        found.append(batches)
    for left, right in zip(*found, strict=True):
        assert torch.equal(left[0], right[0])
        assert torch.equal(left[1], right[1])


def recipe_for(data: Data, epochs: int = 2) -> Recipe:
    recipe = tiny_recipe(epochs=epochs)
    return replace_stage(dataclasses.replace(recipe, data=data), 0, streams={"main": Stream(batch=8)})


@pytest.mark.parametrize("augmentation", ["pad_crop", pytest.param("none", marks=pytest.mark.slow)])
def test_a_square_pack_of_the_size_trains_as_the_image_files_do(
    folder: Path, packs: dict[str, str], tmp_path: Path, augmentation: str
) -> None:
    settings = {"augmentation": augmentation}
    runs = [train(recipe_for(data_of(folder, **settings)), tmp_path / "files")]
    for path in ("resident", "host"):
        data = data_of(folder, pack=packs["square-12"], path=path, **settings)
        runs.append(train(recipe_for(data), tmp_path / path))
    results = [result_of(run) for run in runs]
    assert [result["data"].pop("path") for result in results] == ["resident", "resident", "host"]
    assert results[0] == results[1] == results[2]
    assert [line.split(":")[0] for line in results[0]["data"]["unreadable"]] == ["train/b/5.png"]
    assert metrics_of(runs[0]) == metrics_of(runs[1]) == metrics_of(runs[2])
    assert same_weights(weights_of(runs[0]), weights_of(runs[1]))
    assert same_weights(weights_of(runs[0]), weights_of(runs[2]))


def test_random_resized_crops_train_alike_on_both_paths(folder: Path, packs: dict[str, str], tmp_path: Path) -> None:
    runs = [
        train(recipe_for(cropped(folder, packs["short-18"], path=path)), tmp_path / path)
        for path in ("resident", "host")
    ]
    results = [result_of(run) for run in runs]
    assert [result["data"].pop("path") for result in results] == ["resident", "host"]
    assert results[0] == results[1]
    assert metrics_of(runs[0]) == metrics_of(runs[1])
    assert same_weights(weights_of(runs[0]), weights_of(runs[1]))


def test_a_recipe_says_which_pixels_it_used(folder: Path, packs: dict[str, str], tmp_path: Path) -> None:
    files = recipe_for(data_of(folder, augmentation="random_resized_crop", path="auto"))
    hashes = {}
    for kind in ("short-18", "square-18"):
        prepared = silent(dataclasses.replace(files.data, pack=packs[kind], path="resident"))
        assert prepared.data.pixels == kind
        assert prepared.data.pack == packs[kind]
        hashes[kind] = dataclasses.replace(files, data=prepared.data).hash
    without = silent(files.data)
    assert without.data.pixels is None
    hashes["files"] = dataclasses.replace(files, data=without.data).hash
    assert len(set(hashes.values())) == 3
    assert without.data.fingerprint == silent(dataclasses.replace(files.data, pack=packs["short-18"])).data.fingerprint


@pytest.mark.parametrize(
    ("kind", "changes", "pixels"),
    [
        ("square-12", {}, None),
        ("square-12", {"augmentation": "none"}, None),
        ("square-12", {"augmentation": "random_resized_crop"}, "square-12"),
        ("square-18", {"eval_zoom": 1.5}, "square-18"),
        ("square-18", {}, "square-18"),
        ("short-18", {}, "short-18"),
    ],
)
def test_pixels_are_named_unless_they_are_those_of_decoding(
    folder: Path, packs: dict[str, str], kind: str, changes: dict[str, object], pixels: str | None
) -> None:
    assert silent(data_of(folder, pack=packs[kind], **changes)).data.pixels == pixels


def test_the_recipe_of_a_run_trains_the_same_again(folder: Path, packs: dict[str, str], tmp_path: Path) -> None:
    first = train(recipe_for(cropped(folder, packs["short-18"]), epochs=1), tmp_path / "first")
    recipe = from_yaml(Recipe, (first / "recipe.yaml").read_text(), "recipe.yaml")
    assert recipe.data.pixels == "short-18"
    second = train(recipe, tmp_path / "second")
    assert result_of(first) == result_of(second)


def test_a_long_tail_is_cut_from_the_pack(folder: Path, packs: dict[str, str]) -> None:
    prepared = silent(cropped(folder, packs["short-18"], imbalance_factor=4.0))
    assert prepared.pack is not None
    assert prepared.index.counts.tolist()[0] == 8
    assert prepared.index.counts.tolist()[2] == 2
    source = make_source(recipe_for(prepared.data), prepared, Runtime("cpu", "fp32"))
    assert isinstance(source, PackedResidentSource)
    assert len(source.flat) == prepared.pack.train.sizes[prepared.index.positions].prod(axis=1).sum()


def test_pixels_reach_the_device_whole_in_any_number_of_pieces(
    folder: Path, packs: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = silent(cropped(folder, packs["short-18"], imbalance_factor=4.0))
    assert prepared.pack is not None
    images, index = prepared.pack.train, prepared.index
    expected = np.concatenate([images.image(position).reshape(-1, 3) for position in index.positions.tolist()])
    for chunk in (1, 900, 2000, 1 << 20):
        monkeypatch.setattr(pack_resident, "CHUNK", chunk)
        for workers in (0, 3):
            source = PackedResidentSource(images, index.positions, index.labels, size=12, device=CPU, workers=workers)
            assert np.array_equal(source.flat.numpy(), expected)


@pytest.mark.gpu
@pytest.mark.parametrize("kind", ["short-18", "square-12"])
def test_on_a_gpu_batches_are_those_of_the_cpu(folder: Path, packs: dict[str, str], kind: str) -> None:
    device = torch.device("cuda", 0)
    prepared = silent(cropped(folder, packs["short-18"]) if kind == "short-18" else data_of(folder, pack=packs[kind]))
    assert prepared.pack is not None
    images, index, plan = prepared.pack.train, prepared.index, plan_of(prepared, steps=20)
    if kind == "short-18":
        expected = PackedResidentSource(images, index.positions, index.labels, size=12, device=CPU)
        there = PackedResidentSource(images, index.positions, index.labels, size=12, device=device)
        host = PackedHostSource(images, index.positions, index.labels, size=12, workers=3, device=device)
    else:
        assert prepared.train_images is not None
        expected = ResidentSource(prepared.train_images, index.labels, CPU)
        there = ResidentSource(prepared.train_images, index.labels, device)
        host = SquareHostSource(images, index.positions, index.labels, size=12, workers=3, device=device)
    pixel = Pixel(prepared.data.padding, prepared.data.mean, prepared.data.std).to(device)
    for first, second, third in zip(expected.batches(plan), there.batches(plan), host.batches(plan), strict=True):
        for name, image in shown(first, prepared.data).items():
            here = pixel.augment(second[name])
            torch.testing.assert_close(here.cpu(), image, rtol=1e-4, atol=1e-4)
            assert torch.equal(here, pixel.augment(third[name]))
