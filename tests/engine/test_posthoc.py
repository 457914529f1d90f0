"""Changes of the classifier in a run: measured beside it, kept over a resume, and equal to what its weights give."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tailwise.core.errors import TailwiseError
from tailwise.engine.load import load_network
from tailwise.engine.loop import Interrupted, Loop
from tailwise.engine.prepare import prepare
from tailwise.engine.recipe import Recipe
from tailwise.engine.runtime import Runtime
from tailwise.engine.sources import make_evaluation_split
from tailwise.engine.train import train, train_many
from tailwise.evaluation.features import pooled_features
from tailwise.heads.base import HeadModule
from tailwise.heads.cosine import Cosine
from tailwise.posthoc import NCM, LogitAdjustment, PostHoc, TauNorm
from tests.helpers import metrics_of, result_of, same_weights, tiny_recipe, weights_of

IDENTITY, CHANGES = TauNorm(tau=0.0, bias="keep"), (TauNorm(tau=0.7), LogitAdjustment(), NCM())


@pytest.fixture(autouse=True)
def _no_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tailwise.engine.result.draw", lambda folder: None)


def recipe_with(*changes: PostHoc, epochs: int = 4, every: int = 2, **fields: Any) -> Recipe:
    recipe = tiny_recipe(epochs=epochs)
    data = dataclasses.replace(recipe.data, imbalance_factor=10.0)
    evaluate = dataclasses.replace(recipe.evaluate, every=every, last=1, posthoc=changes)
    return dataclasses.replace(recipe, data=data, evaluate=evaluate, **fields)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tailwise.engine.result.draw", lambda folder: None)
        return train(recipe_with(IDENTITY, *CHANGES), tmp_path_factory.mktemp("posthoc") / "run")


def test_the_identity_has_the_numbers_of_the_network_itself(run: Path) -> None:
    result = result_of(run)
    found = result["posthoc"][IDENTITY.label]
    for key in ("last", "best_on_test", "confusion", "confusion_best", "reliability"):
        assert found[key] == result[key]
    assert list(result["posthoc"]) == [change.label for change in (IDENTITY, *CHANGES)]


def test_a_run_is_the_same_with_and_without_changes_of_its_classifier(tmp_path: Path, run: Path) -> None:
    plain = train(recipe_with(), tmp_path / "plain")
    assert same_weights(weights_of(plain), weights_of(run))
    changed = result_of(run)
    result = {**result_of(plain), "recipe_hash": changed["recipe_hash"], "posthoc": changed["posthoc"]}
    assert result == changed
    assert all("posthoc" not in line for line in metrics_of(plain))


def test_cheap_changes_are_measured_at_every_evaluation_and_features_are_read_at_the_end(run: Path) -> None:
    lines = {line["epoch"]: line["posthoc"] for line in metrics_of(run) if line["event"] == "evaluation"}
    always = [IDENTITY.label, "tau_norm(tau=0.7)", "logit_adjustment(tau=1)"]
    assert {epoch: list(found) for epoch, found in lines.items()} == {2: always, 4: [*always, "ncm"]}
    result = result_of(run)["posthoc"]
    for label, found in lines[4].items():
        last = result[label]["last"]
        assert found == {key: value for key, value in last.items() if key != "per_class"}
        best = max((lines[epoch][label] for epoch in (2, 4) if label in lines[epoch]), key=lambda one: one["top1"])
        assert result[label]["best_on_test"]["top1"] == best["top1"]


def by_hand(folder: Path) -> dict[str, Any]:
    """Confusion matrices of the evaluation images from the saved weights, in numpy."""
    recipe, network, _ = load_network(folder)
    prepared = prepare(recipe.data, torch.device("cpu"), lambda line: None)
    assert prepared.train_images is not None
    assert prepared.eval_images is not None

    def features(images: Any) -> Any:
        with torch.no_grad():
            return HeadModule.pool(network.maps(network.pixel(torch.from_numpy(images)))).double().numpy()

    train_features, x = features(prepared.train_images), features(prepared.eval_images)
    labels, counts = prepared.index.labels, prepared.index.counts
    head: Any = network.head
    weight, bias = head.fc.weight.detach().double().numpy(), head.fc.bias.detach().double().numpy()
    means = np.stack([train_features[labels == c].mean(0) for c in range(len(counts))])
    logits = {
        "tau_norm(tau=0.7)": x @ (weight / np.linalg.norm(weight, axis=1, keepdims=True) ** 0.7).T,
        "logit_adjustment(tau=1)": x @ weight.T + bias - np.log(counts / counts.sum()),
        "ncm": x @ (means / np.linalg.norm(means, axis=1, keepdims=True)).T,
    }
    truth = prepared.splits.test.labels[prepared.eval_positions]
    found: dict[str, Any] = {}
    for label, values in logits.items():
        confusion = np.zeros((len(counts), len(counts)), dtype=int)
        np.add.at(confusion, (truth, values.argmax(1)), 1)
        found[label] = confusion.tolist()
    return found


def test_the_numbers_are_those_of_the_saved_weights(run: Path) -> None:
    result = result_of(run)["posthoc"]
    assert {label: result[label]["confusion"] for label in by_hand(run)} == by_hand(run)


def test_the_averaged_network_is_the_one_that_is_changed(tmp_path: Path) -> None:
    folder = train(recipe_with(*CHANGES, ema=0.5), tmp_path / "run")
    result = result_of(folder)["posthoc"]
    assert {label: result[label]["confusion"] for label in by_hand(folder)} == by_hand(folder)


def test_the_host_path_gives_the_same(tmp_path: Path, run: Path) -> None:
    recipe = recipe_with(IDENTITY, *CHANGES)
    recipe = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, path="host", workers=1))
    host, resident = result_of(train(recipe, tmp_path / "run")), result_of(run)
    assert host["posthoc"] == resident["posthoc"]


@pytest.mark.parametrize("step", [5, 7])
def test_a_resumed_run_keeps_what_was_measured(tmp_path: Path, run: Path, step: int) -> None:
    recipe = recipe_with(IDENTITY, *CHANGES)
    original = Loop.__init__

    def with_a_stop(loop: Loop, *arguments: Any) -> None:
        original(loop, *arguments)
        loop.stop = lambda: loop.live[0].step == step

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(Loop, "__init__", with_a_stop)
        train(recipe, tmp_path / "cut")
    resumed = train(recipe, tmp_path / "cut", resume=True)
    assert result_of(resumed) == result_of(run)
    assert metrics_of(resumed) == metrics_of(run)


def test_runs_side_by_side_measure_their_own_changes(tmp_path: Path) -> None:
    recipes = [recipe_with(*CHANGES, epochs=2, seed=seed) for seed in (0, 1)]
    recipes = [dataclasses.replace(item, run=dataclasses.replace(item.run, at_once=2)) for item in recipes]
    folders = [outcome.folder for outcome in train_many(recipes, base=tmp_path)]
    assert result_of(folders[0])["posthoc"] != result_of(folders[1])["posthoc"]
    for folder in folders:
        result = result_of(folder)["posthoc"]
        assert {label: result[label]["confusion"] for label in by_hand(folder)} == by_hand(folder)


def test_a_head_that_cannot_be_changed_is_told_before_training(tmp_path: Path) -> None:
    recipe = dataclasses.replace(recipe_with(TauNorm()), head=Cosine())
    with pytest.raises(TailwiseError, match=r"^tau_norm rescales a linear classifier, and CosineModule has none"):
        train(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_same_change_twice_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^posthoc has a change twice: ncm, tau_norm\(tau=1\), ncm$"):
        recipe_with(NCM(), TauNorm(), NCM())


class OneOf(Runtime):
    """One of several processes, whose shares are put together by hand."""

    def __init__(self, rank: int, world: int) -> None:
        super().__init__("cpu", "fp32")
        self.place = (rank, world)

    @property
    def rank(self) -> int:
        return self.place[0]

    @property
    def world(self) -> int:
        return self.place[1]

    def sum(self, value: Tensor) -> Tensor:
        return value


@pytest.mark.parametrize("world", [2, 3, 90])
def test_features_have_one_order_whatever_the_number_of_processes(run: Path, world: int) -> None:
    recipe, network, _ = load_network(run)
    prepared = prepare(recipe.data, torch.device("cpu"), lambda line: None)
    total = len(prepared.index)
    assert total < 90  # so that some of 90 processes have none

    def features(rank: int, ranks: int) -> tuple[Tensor, Tensor]:
        runtime = OneOf(rank, ranks)
        split = make_evaluation_split(
            recipe, prepared.splits.train, None, prepared.index.positions, runtime, prepared.train_images
        )
        return pooled_features(network.train(), split, total, runtime)

    one, labels = features(0, 1)
    assert one.shape == (total, 16)
    assert labels.tolist() == prepared.index.labels.tolist()
    assert network.training
    shares = [features(rank, world) for rank in range(world)]
    torch.testing.assert_close(torch.stack([share[0] for share in shares]).sum(0), one)
    assert torch.equal(torch.stack([share[1] for share in shares]).sum(0), labels)
