"""Trainings in two stages: what goes on, what stays bit for bit, and what has to be there before they start."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tailwise.core.errors import RunError
from tailwise.engine.loop import Interrupted, Loop
from tailwise.engine.recipe import Recipe
from tailwise.engine.train import train, train_many
from tailwise.heads.cosine import Cosine
from tailwise.losses.cost_sensitive import CostSensitive
from tailwise.losses.cross_entropy import CrossEntropy
from tailwise.recipes.base import replace_stage
from tailwise.recipes.stages import crt, drs, drw, lws
from tailwise.samplers.power import Power
from tests.helpers import metrics_of, result_of, same_weights, tiny_recipe, weights_of

Weights = dict[str, torch.Tensor]


@pytest.fixture(autouse=True)
def _no_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tailwise.engine.result.draw", lambda folder: None)


def rates(folder: Path) -> list[float]:
    return [line["lr"] for line in metrics_of(folder) if line["event"] == "epoch"]


def losses(folder: Path) -> list[float]:
    return [line["loss"] for line in metrics_of(folder) if line["event"] == "epoch"]


def part(weights: Weights, prefix: str) -> Weights:
    return {name: value for name, value in weights.items() if name.startswith(prefix)}


@pytest.fixture(scope="module")
def one_stage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five epochs of cross-entropy with the momentum and the schedule of one optimiser."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tailwise.engine.result.draw", lambda folder: None)
        return train(tiny_recipe(epochs=5), tmp_path_factory.mktemp("one") / "run")


@pytest.mark.parametrize("epoch", [40, 160])
def test_the_optimiser_and_its_schedule_go_on_in_the_second_stage(tmp_path: Path, one_stage: Path, epoch: int) -> None:
    # The order of the images depends on the stage; with that of the single stage, two stages with one and the same loss
    # must be one training.
    recipe = drw(tiny_recipe(epochs=5), CrossEntropy(), epoch=epoch)
    with pytest.MonkeyPatch.context() as patch:
        _plan_by_epoch_of_the_run(patch)
        two = train(recipe, tmp_path / "two")
    assert rates(two) == rates(one_stage)
    assert losses(two) == losses(one_stage)
    assert same_weights(weights_of(two), weights_of(one_stage))


def test_the_second_stage_does_change_the_loss(tmp_path: Path, one_stage: Path) -> None:
    recipe = tiny_recipe(epochs=5)
    recipe = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, imbalance_factor=10.0))
    with pytest.MonkeyPatch.context() as patch:
        _plan_by_epoch_of_the_run(patch)
        plain = train(drw(recipe, CrossEntropy()), tmp_path / "plain")
        weighted = train(drw(recipe, CostSensitive(), "weighted_mean"), tmp_path / "weighted")
    assert losses(plain)[:4] == losses(weighted)[:4]
    assert losses(plain)[4] != losses(weighted)[4]
    assert rates(weighted) == rates(one_stage)


def _plan_by_epoch_of_the_run(patch: pytest.MonkeyPatch) -> None:
    """Plans and seeds of layers depend on the epoch of the run alone, as if there were one stage."""
    from tailwise.engine import training

    original, init = training.make_plan, training.Training.__init__
    first: list[int] = []

    def make_plan(stage: Any, *arguments: Any, stage_number: int, epoch: int, **more: Any) -> Any:
        return original(stage, *arguments, stage_number=0, epoch=first[stage_number] + epoch, **more)

    def remember(run: Any, *arguments: Any) -> None:
        init(run, *arguments)
        first[:] = [span.first_epoch for span in run.spans]

    patch.setattr(training, "make_plan", make_plan)
    patch.setattr(training.Training, "__init__", remember)


@pytest.fixture(scope="module")
def first_stage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cross-entropy for four epochs: the first stage of what follows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tailwise.engine.result.draw", lambda folder: None)
        return train(tiny_recipe(epochs=4), tmp_path_factory.mktemp("first") / "run")


def test_crt_leaves_the_backbone_as_it_was_and_trains_a_new_head(tmp_path: Path, first_stage: Path) -> None:
    run = train(crt(tiny_recipe(epochs=4)), tmp_path / "run")
    before, after = weights_of(first_stage), weights_of(run)
    assert same_weights(part(before, "backbone."), part(after, "backbone."))
    head = part(after, "head.")
    assert all(not torch.equal(value, before[name]) for name, value in head.items())
    assert losses(run)[:4] == losses(first_stage)


def test_the_official_variant_lets_statistics_move_and_nothing_else(tmp_path: Path, first_stage: Path) -> None:
    run = train(crt(tiny_recipe(epochs=4), variant="official"), tmp_path / "run")
    before, after = (part(weights_of(folder), "backbone.") for folder in (first_stage, run))
    moved = {name.rsplit(".", 1)[-1] for name, value in after.items() if not torch.equal(value, before[name])}
    assert moved == {"running_mean", "running_var", "num_batches_tracked"}


def test_lws_leaves_backbone_and_classifier_as_they_were_and_learns_the_factors(
    tmp_path: Path, first_stage: Path
) -> None:
    run = train(lws(tiny_recipe(epochs=4)), tmp_path / "run")
    before, after = weights_of(first_stage), weights_of(run)
    scale = after.pop("head.scale")
    assert same_weights(before, after)
    assert not torch.equal(scale, torch.ones(4))
    assert losses(run)[:4] == losses(first_stage)


@pytest.mark.parametrize("make", [crt, lws])
def test_a_classifier_stage_is_resumed_bit_for_bit(tmp_path: Path, make: Any) -> None:
    recipe = make(tiny_recipe(epochs=2))
    recipe = replace_stage(recipe, 1, epochs=2)
    whole = train(recipe, tmp_path / "whole")
    last = result_of(whole)["steps"]
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Interrupted):
        _stop_at(patch, last - 2)
        train(recipe, tmp_path / "cut")
    resumed = train(recipe, tmp_path / "cut", resume=True)
    assert same_weights(weights_of(whole), weights_of(resumed))
    assert metrics_of(whole) == metrics_of(resumed)


def _stop_at(patch: pytest.MonkeyPatch, step: int) -> None:
    original = Loop.__init__

    def with_a_stop(loop: Loop, *arguments: Any) -> None:
        original(loop, *arguments)
        loop.stop = lambda: loop.live[0].step == step

    patch.setattr(Loop, "__init__", with_a_stop)


def starting_from(path: Path, **changes: Any) -> Recipe:
    recipe = replace_stage(drs(tiny_recipe(epochs=2), Power(q=0.0)), 1, start_from=str(path))
    return dataclasses.replace(recipe, **changes)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda path: None,
            "stage 1 starts from {path}, which is no file; give --stages.1.start-from the model.safetensors of a run",
        ),
        (
            lambda path: path.mkdir(),
            "stage 1 starts from {path}, which is no file; give --stages.1.start-from for example "
            "{path}/model.safetensors",
        ),
        (lambda path: path.write_bytes(b"junk"), "stage 1 starts from {path}, which is not a complete safetensors"),
        (
            lambda path: save_file({"head.fc.weight": torch.ones(2)}, path),
            "stage 1 starts from {path}, which is of another network: backbone.conv1.weight is absent there and "
            "[16, 3, 3, 3] in the recipe's network",
        ),
    ],
)
def test_weights_that_a_later_stage_cannot_start_from_are_told_before_training(
    tmp_path: Path, make: Any, message: str
) -> None:
    path = tmp_path / "weights"
    make(path)
    found = re.escape(message.format(path=path)).replace(r"\[16,\ 3,\ 3,\ 3\]", r"\[\d+, 3, 3, 3\]")
    with pytest.raises(RunError, match=f"^{found}"):
        train(starting_from(path), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_weights_of_another_head_are_told_before_training(tmp_path: Path, first_stage: Path) -> None:
    path = first_stage / "model.safetensors"
    message = "head.weight is absent there and [4, 16] in the recipe's network"
    with pytest.raises(RunError, match=re.escape(message)):
        train(starting_from(path, head=Cosine()), tmp_path / "run")


def test_a_stage_starts_from_the_weights_of_a_run(tmp_path: Path, first_stage: Path) -> None:
    recipe = replace_stage(tiny_recipe(epochs=1), 0, start_from=str(first_stage / "model.safetensors"))
    recipe = replace_stage(recipe, 0, trainable=r"head\.fc\.bias")
    before, after = weights_of(first_stage), weights_of(train(recipe, tmp_path / "run"))
    assert [name for name, value in after.items() if not torch.equal(value, before[name])] == ["head.fc.bias"]


def test_a_resumed_run_needs_no_weights_of_stages_that_it_has_entered(tmp_path: Path, first_stage: Path) -> None:
    copy = tmp_path / "weights.safetensors"
    copy.write_bytes((first_stage / "model.safetensors").read_bytes())
    recipe = replace_stage(starting_from(copy), 1, epochs=2)
    last = result_of(train(recipe, tmp_path / "whole"))["steps"]
    for step, needed in ((last - 1, False), (2, True)):
        folder = tmp_path / f"cut{step}"
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Interrupted):
            _stop_at(patch, step)
            train(recipe, folder)
        kept = copy.read_bytes()
        copy.unlink()
        if needed:
            with pytest.raises(RunError, match="stage 1 starts from"):
                train(recipe, folder, resume=True)
        else:
            assert same_weights(weights_of(train(recipe, folder, resume=True)), weights_of(tmp_path / "whole"))
        copy.write_bytes(kept)


@pytest.mark.parametrize("make", [crt, lws])
def test_stacked_classifier_stages_equal_those_alone(tmp_path: Path, make: Any) -> None:
    # In float64, because training multiplies differences of rounding.
    base = dataclasses.replace(make(tiny_recipe(epochs=2, at_once=2)), precision="fp64")
    recipes = [dataclasses.replace(base, seed=seed) for seed in (0, 1)]
    outcomes = train_many(recipes, [tmp_path / f"stack{number}" for number in range(2)])
    for recipe, outcome in zip(recipes, outcomes, strict=True):
        single = train(
            dataclasses.replace(recipe, run=dataclasses.replace(recipe.run, at_once=1)), tmp_path / f"own{recipe.seed}"
        )
        assert '"executor": "stacked"' in (outcome.folder / "result.json").read_text()
        expected = weights_of(single)
        for name, value in weights_of(outcome.folder).items():
            torch.testing.assert_close(value, expected[name], rtol=1e-8, atol=1e-8)
