"""Confusing classes: averages over the images of a class, never the class itself; and what the stage takes along."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tailwise.core.errors import RunError, TailwiseError
from tailwise.data.bank import BankSource
from tailwise.engine.checkpoint import load_weights, save_weights
from tailwise.engine.prepare import prepare
from tailwise.engine.recipe import Recipe
from tailwise.engine.runtime import Runtime
from tailwise.engine.sources import make_source
from tailwise.engine.task import Task
from tailwise.models.cam import class_activation_maps
from tailwise.precompute import feature_bank
from tailwise.precompute.confusion import Confusion, confusing_classes, mean_scores
from tailwise.precompute.feature_bank import FeatureBank, may_read
from tailwise.recipes.base import replace_stage
from tailwise.recipes.feature_space import at_depth, feature_space
from tests.helpers import tiny_recipe
from tests.unit.precompute.test_cam_bank import CPU, Share


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 7))
def test_confusing_classes_are_those_with_the_largest_mean_scores(seed: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), rng.integers(0, classes, 20)])
    scores = rng.dirichlet(np.ones(classes), labels.size)
    mean = mean_scores(torch.from_numpy(scores), torch.from_numpy(labels), classes)
    for number in range(1, classes):
        found = confusing_classes(mean, number)
        assert found.shape == (classes, number)
        for label in range(classes):
            own = scores[labels == label].mean(0)
            others = sorted((other for other in range(classes) if other != label), key=lambda other: -own[other])
            assert found[label].tolist() == others[:number]


def test_rows_are_the_true_class_and_not_what_it_is_taken_for() -> None:
    """The transposed reading, by which a class gets what is taken for it, gives other classes here."""
    scores = np.array([[0.6, 0.3, 0.1], [0.1, 0.2, 0.7], [0.5, 0.1, 0.4]])
    assert confusing_classes(scores, 1).tolist() == [[1], [2], [0]]
    assert confusing_classes(scores.T, 1).tolist() == [[2], [0], [1]]


def test_equal_scores_keep_label_order() -> None:
    assert confusing_classes(np.full((4, 4), 0.25), 3).tolist() == [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]]


def parts(change: Any = None) -> tuple[Recipe, Any, Any, Task]:
    recipe = tiny_recipe(epochs=2)
    recipe = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, imbalance_factor=10.0))
    recipe = feature_space(recipe, tail_images=2, steps=3)
    recipe = recipe if change is None else change(recipe)
    prepared = prepare(recipe.data, CPU, lambda line: None)
    torch.manual_seed(0)
    task = Task(recipe, prepared.index.stats)
    task.enter(recipe.stages[1])
    return recipe, prepared, make_source(recipe, prepared, Runtime("cpu", "fp32")), task


def logits(task: Task, prepared: Any) -> Tensor:
    network = task.network.eval()
    with torch.no_grad():
        return network(torch.from_numpy(prepared.train_images))


def test_scores_are_those_of_all_plain_training_images(tmp_path: Path) -> None:
    recipe, prepared, source, task = parts()
    confusion = Confusion(recipe, prepared, source, Runtime("cpu", "fp32"), tmp_path)
    confusion.check(task.network)
    record = confusion.enter(1, task.network, task, resumed=False)
    assert record is not None
    assert record["images"] == 70
    scores = logits(task, prepared).double().softmax(1).numpy()
    mean = np.stack([scores[prepared.index.labels == label].mean(0) for label in range(4)])
    assert task.facts is not None
    assert task.facts.confusing is not None
    assert task.facts.confusing.tolist() == confusing_classes(mean, 3).tolist()
    assert task.facts.positions == 4
    assert task.classifier is not None
    before = task.classifier.clone()
    with torch.no_grad():
        task.network.head.classifier_weight.neg_()
    assert torch.equal(task.classifier, before)
    task.classifier = None
    assert confusion.enter(1, task.network, task, resumed=True) is None
    assert torch.equal(task.classifier, before)  # pyright: ignore[reportArgumentType]
    assert confusion.enter(0, task.network, task, resumed=False) is None
    assert task.facts is None


def test_the_file_carries_the_hash_and_a_wrong_one_is_refused(tmp_path: Path) -> None:
    recipe, prepared, source, task = parts()
    confusion = Confusion(recipe, prepared, source, Runtime("cpu", "fp32"), tmp_path)
    confusion.enter(1, task.network, task, resumed=False)
    path = tmp_path / "stage1-confusion.safetensors"
    assert recipe.hash.encode() in path.read_bytes()
    held = load_weights(path)
    save_weights(path, {**held, "confusing": torch.zeros(7, 3, dtype=torch.int64)}, {})
    with pytest.raises(RunError) as error:
        confusion.enter(1, task.network, task, resumed=True)
    assert str(error.value) == f"{path} holds [7, 3] as confusing; expected a row for each of 4 classes"
    save_weights(path, {"confusing": held["confusing"]}, {})
    with pytest.raises(RunError) as error:
        confusion.enter(1, task.network, task, resumed=True)
    assert str(error.value) == f"{path} holds nothing as classifier; expected a row for each of 4 classes"


def test_inside_the_backbone_maps_of_all_images_are_taken_along(tmp_path: Path) -> None:
    recipe, prepared, source, task = parts(lambda recipe: at_depth(recipe, "layer2", ("stage3",)))
    confusion = Confusion(recipe, prepared, source, Runtime("cpu", "fp32"), tmp_path)
    confusion.check(task.network)
    confusion.enter(1, task.network, task, resumed=False)
    assert task.facts is not None
    assert task.facts.positions == 16
    assert task.cams is not None
    network, labels = task.network.eval(), torch.from_numpy(prepared.index.labels)
    with torch.no_grad():
        maps = network.maps(network.pixel(torch.from_numpy(prepared.train_images)))
        expected = class_activation_maps(maps, network.head.classifier_weight, labels)
    torch.testing.assert_close(task.cams.float(), expected, rtol=0, atol=2e-3)


def test_the_bank_holds_what_the_backbone_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, prepared, source, task = parts()
    task.network.backbone.requires_grad_(False)
    bank = FeatureBank(recipe, prepared, source, Runtime("cpu", "fp32"), tmp_path)
    record = bank.enter(1, task.network, task, resumed=False)
    assert record is not None
    assert record["bytes"] == 70 * 16 * 4 * 4
    assert isinstance(bank.found, BankSource)
    network = task.network.eval()
    with torch.no_grad():
        expected = network.maps(network.pixel(torch.from_numpy(prepared.train_images)))
    torch.testing.assert_close(bank.found.maps, expected)
    shares = []
    for rank in range(3):
        part = FeatureBank(recipe, prepared, source, Share(rank, 3), tmp_path)  # pyright: ignore[reportArgumentType]
        part.enter(1, network, task, resumed=False)
        shares.append(part.found.maps)  # pyright: ignore
    torch.testing.assert_close(torch.stack(shares).sum(0), expected)
    monkeypatch.setattr(feature_bank, "MOST", record["bytes"] - 1)
    assert bank.enter(1, task.network, task, resumed=False) is None
    assert bank.found is None
    assert not task.reads_bank
    assert not list(tmp_path.iterdir())


def test_only_stages_whose_maps_never_change_read_a_bank() -> None:
    recipe, _, _, task = parts()
    stage, network = recipe.stages[1], task.network
    assert not may_read(recipe, stage, network)  # the backbone is trained
    network.backbone.requires_grad_(False)
    assert may_read(recipe, stage, network)
    for change in ({"images": "augmented"}, {"frozen_bn": "train"}):
        assert not may_read(recipe, dataclasses.replace(stage, **change), network)  # pyright: ignore[reportArgumentType]
    deep = at_depth(recipe, "layer2", ("stage3",)).stages[1]
    assert not may_read(recipe, deep, network)
    images = dataclasses.replace(recipe, run=dataclasses.replace(recipe.run, features="images"))
    assert not may_read(images, stage, network)


def test_a_stage_that_resets_its_head_is_refused(tmp_path: Path) -> None:
    recipe, prepared, source, task = parts(lambda recipe: replace_stage(recipe, 1, reset=("head",), feature_aug=None))
    confusion = Confusion(recipe, prepared, source, Runtime("cpu", "fp32"), tmp_path)
    with pytest.raises(TailwiseError) as error:
        confusion.check(task.network)
    assert str(error.value) == (
        "stage 1 draws by the confusions of a classifier, but it resets the head, so that no trained classifier is "
        "left; leave `reset` empty in this stage"
    )
