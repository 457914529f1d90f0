"""Maps of all training images: what they are, who computes them, and recipes that could not have them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tailwise.augment.cam_transform import CamTransform
from tailwise.core.errors import RunError, TailwiseError
from tailwise.data.source import BatchSource
from tailwise.engine.checkpoint import load_weights, save_weights
from tailwise.engine.prepare import Prepared, prepare
from tailwise.engine.recipe import Recipe, Stage, Stream
from tailwise.engine.runtime import Runtime
from tailwise.engine.sources import make_source
from tailwise.engine.task import Task
from tailwise.models.cam import class_activation_maps
from tailwise.models.network import Network
from tailwise.precompute.cam_bank import CamBank, owner
from tailwise.recipes.base import replace_stage, replace_stream
from tests.helpers import tiny_recipe

CPU = torch.device("cpu")


class Share:
    """One of several processes; sums are taken by hand."""

    device, is_main = CPU, True

    def __init__(self, rank: int, world: int) -> None:
        self.rank, self.world = rank, world

    def autocast(self) -> Any:
        return nullcontext()

    def share_buffers(self, module: Any) -> None:
        """Nothing to share."""

    def barrier(self) -> None:
        """Nobody to wait for."""

    def sum(self, value: Tensor) -> Tensor:
        return value


def parts(name: str = "cam-balance-sampling") -> tuple[Recipe, Prepared, BatchSource, Network]:
    recipe = tiny_recipe(name, epochs=4)
    recipe = dataclasses.replace(recipe, evaluate=dataclasses.replace(recipe.evaluate, batch=48))
    prepared = prepare(recipe.data, CPU, lambda line: None)
    torch.manual_seed(0)
    network = Task(recipe, prepared.index.stats).network
    return recipe, prepared, make_source(recipe, prepared, Runtime("cpu", "fp32")), network


def task_with(generates: dict[str, Any]) -> Any:
    return SimpleNamespace(generates=generates)


def entered(bank: CamBank, network: Network, number: int = 1, *, resumed: bool = False) -> Tensor:
    generates = {"main": CamTransform().bind()}
    bank.enter(number, network, task_with(generates), resumed=resumed)
    maps = generates["main"].maps
    assert maps is not None
    return maps


def test_maps_are_those_of_the_images_as_they_are_in_evaluation_mode(tmp_path: Path) -> None:
    recipe, prepared, source, network = parts()
    network.train()
    maps = entered(CamBank(recipe, prepared, source, Runtime("cpu", "fp32"), tmp_path), network)
    assert network.training
    assert maps.dtype == torch.float16
    assert prepared.train_images is not None
    network.eval()
    images, labels = torch.from_numpy(prepared.train_images), torch.from_numpy(prepared.index.labels)
    with torch.no_grad():
        expected = class_activation_maps(network.maps(network.pixel(images)), network.head.classifier_weight, labels)
    assert maps.shape == (160, 2, 2)
    torch.testing.assert_close(maps.float(), expected, rtol=0, atol=2e-3)
    saved = load_weights(tmp_path / "stage1-cam.safetensors")["main"]
    assert torch.equal(saved, maps)


def test_the_official_maps_are_those_of_other_crops(tmp_path: Path) -> None:
    recipe, prepared, source, network = parts("cam-balance-sampling-official")
    runtime = Runtime("cpu", "fp32")
    other = entered(CamBank(recipe, prepared, source, runtime, tmp_path), network)
    again = entered(CamBank(recipe, prepared, source, runtime, tmp_path), network)
    plain = entered(CamBank(*parts()[:3], runtime, tmp_path), network)
    assert torch.equal(other, again)
    assert other.shape == plain.shape
    assert (other != plain).float().mean() > 0.2


def test_processes_compute_their_shares(tmp_path: Path) -> None:
    recipe, prepared, source, network = parts()
    whole = entered(CamBank(recipe, prepared, source, Runtime("cpu", "fp32"), tmp_path), network)
    shares = [
        entered(CamBank(recipe, prepared, source, Share(rank, 3), tmp_path), network)  # pyright: ignore[reportArgumentType]
        for rank in range(3)
    ]
    for rank, share in enumerate(shares):
        assert not any(share[other::3].any() for other in range(3) if other != rank)
    # Other batches may round in another way.
    torch.testing.assert_close(torch.stack(shares).sum(0), whole, rtol=0, atol=2e-3)


def test_a_resumed_stage_reads_its_file_and_says_what_is_wrong_with_it(tmp_path: Path) -> None:
    recipe, prepared, source, network = parts()
    bank = CamBank(recipe, prepared, source, Runtime("cpu", "fp32"), tmp_path)
    path = tmp_path / "stage1-cam.safetensors"
    with pytest.raises(RunError) as error:
        entered(bank, network, resumed=True)
    assert str(error.value) == (
        f"{path} is missing: the class activation maps that the stage began with, without which the run cannot go on; "
        "put the file back, or start the run anew in another --out"
    )
    maps = entered(bank, network)
    with torch.no_grad():
        network.head.classifier_weight.neg_()
    assert torch.equal(entered(bank, network, resumed=True), maps)
    save_weights(path, {"main": torch.zeros(7, 2, 2)}, {})
    with pytest.raises(RunError) as error:
        entered(bank, network, resumed=True)
    assert str(error.value) == f"{path} holds [7, 2, 2] for stream 'main'; expected maps of 160 images"


def test_a_stage_keeps_the_maps_of_the_one_before_that_generates_too(tmp_path: Path) -> None:
    recipe, prepared, source, network = parts()
    recipe = dataclasses.replace(recipe, stages=(*recipe.stages, recipe.stages[1]))
    assert [owner(recipe.stages, number) for number in range(3)] == [0, 1, 1]
    bank = CamBank(recipe, prepared, source, Runtime("cpu", "fp32"), tmp_path)
    bank.check(network)
    maps = entered(bank, network)
    with torch.no_grad():
        network.head.classifier_weight.neg_()
    assert torch.equal(entered(bank, network, 2), maps)
    unlike = replace_stream(recipe, 2, generate=CamTransform(aligned=False))
    assert owner(unlike.stages, 2) == 2


def refusal(change: Callable[[Recipe], Recipe], tmp_path: Path, **network_of: Any) -> str:
    recipe, prepared, source, _ = parts()
    recipe = change(recipe)
    prepared = dataclasses.replace(prepared, data=recipe.data)
    network = Task(dataclasses.replace(recipe, **network_of), prepared.index.stats).network
    with pytest.raises(TailwiseError) as error:
        CamBank(recipe, prepared, source, Runtime("cpu", "fp32"), tmp_path).check(network)
    return str(error.value)


def test_a_stage_without_a_trained_classifier_is_refused_before_training(tmp_path: Path) -> None:
    def alone(recipe: Recipe) -> Recipe:
        return dataclasses.replace(recipe, stages=recipe.stages[1:])

    assert refusal(alone, tmp_path) == (
        "stage 0 generates images by class activation maps, and no classifier is trained before it; put a stage "
        "without `generate` first, or give --stages.0.start-from the model.safetensors of a run"
    )
    assert refusal(lambda recipe: replace_stage(recipe, 1, reset=("head",)), tmp_path) == (
        "stage 1 generates images by class activation maps, but it resets the head, so that no trained classifier is "
        "left; leave `reset` empty in this stage"
    )


def test_images_that_workers_crop_are_refused_before_training(tmp_path: Path) -> None:
    def cropped(recipe: Recipe) -> Recipe:
        return dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, augmentation="random_resized_crop"))

    assert refusal(cropped, tmp_path) == (
        "stage 1 generates images, for which whole images are needed, but workers crop them as they decode them; use "
        "an image pack (tailwise data pack, then --pack), or augmentation pad_crop"
    )


def test_a_backbone_without_maps_and_a_head_without_class_vectors_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Network.maps
    monkeypatch.setattr(Network, "maps", lambda self, x: original(self, x).mean((2, 3)))
    message = refusal(lambda recipe: recipe, tmp_path)
    assert message.startswith(
        "backbone 'resnet20' with head 'linear': class activation maps need a backbone with feature"
    )
    monkeypatch.undo()

    def missing(self: Any) -> Tensor:
        raise NotImplementedError("several experts have no class vector each")

    from tailwise.heads.linear import LinearModule

    monkeypatch.setattr(LinearModule, "classifier_weight", property(missing))
    message = refusal(lambda recipe: recipe, tmp_path)
    assert message == "backbone 'resnet20' with head 'linear': several experts have no class vector each"


def test_the_control_needs_no_maps(tmp_path: Path) -> None:
    recipe, prepared, source, network = parts("image-trans-balance-sampling")
    stages: tuple[Stage, ...] = recipe.stages[1:]
    bank = CamBank(dataclasses.replace(recipe, stages=stages), prepared, source, Runtime("cpu", "fp32"), tmp_path)
    bank.check(network)
    assert bank.enter(0, network, task_with({}), resumed=False) is None
    assert not list(tmp_path.iterdir())
    assert np.array_equal(CamTransform().numbers(prepared.index.stats), np.array([40, 40, 40, 40]))
    assert Stream().generate is None
