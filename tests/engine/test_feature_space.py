"""Feature space augmentation in whole runs: what is trained, banks, resume, captured steps, runs side by side."""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tailwise.augment.feature_space import FeatureSpace
from tailwise.core.errors import RunError, TailwiseError
from tailwise.data.bank import BankSource
from tailwise.engine.checkpoint import load_weights
from tailwise.engine.loop import Interrupted
from tailwise.engine.program import StepProgram
from tailwise.engine.recipe import Recipe
from tailwise.engine.step import EagerExecutor
from tailwise.engine.train import train, train_many
from tailwise.models.network import Network
from tailwise.recipes.base import replace_stage, replace_stream
from tailwise.recipes.feature_space import at_depth, feature_space
from tailwise.samplers.confusing_classes import ConfusingClasses
from tailwise.samplers.tail_classes import TailClasses
from tests.engine.test_cam import in_second_stage
from tests.engine.test_program import state
from tests.engine.test_resume import stop_at
from tests.engine.test_together import alone, close
from tests.helpers import metrics_of, result_of, same_weights, tiny_recipe, weights_of


@pytest.fixture(autouse=True)
def _without_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing a page takes four times as long as such a training."""
    monkeypatch.setattr("tailwise.engine.result.draw", lambda folder: None)


def phases(base: Recipe | None = None, **changes: Any) -> Recipe:
    """2 epochs of 2 steps, then 5 steps of 16 samples in epochs of 3; 40, 18, 8 and 4 images in 4 classes."""
    recipe = base or tiny_recipe(epochs=2)
    recipe = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, imbalance_factor=10.0))
    options: dict[str, Any] = {"tail_images": 2, "steps": 5, "each": 3, "classes": 3}
    recipe = feature_space(recipe, **{**options, **changes})
    return replace_stage(recipe, 1, steps_per_epoch=3)


def images(recipe: Recipe) -> Recipe:
    """The same recipe, with its backbone run in every step."""
    return dataclasses.replace(recipe, run=dataclasses.replace(recipe.run, features="images"))


def test_only_the_classifier_changes_in_phase_two(tmp_path: Path) -> None:
    recipe = phases()
    first = weights_of(train(dataclasses.replace(recipe, stages=recipe.stages[:1]), tmp_path / "first"))
    for number, whole in enumerate((recipe, images(recipe), phases(images="augmented"))):
        both = weights_of(train(whole, tmp_path / str(number)))
        changed = {name for name in both if not torch.equal(both[name], first[name])}
        # BatchNorm's statistics are among those that stay.
        assert changed == {"head.fc.weight", "head.fc.bias"}


def test_a_feature_bank_and_images_give_the_same_steps(tmp_path: Path) -> None:
    recipe = dataclasses.replace(phases(), precision="fp64")
    runs = [train(recipe, tmp_path / "bank"), train(images(recipe), tmp_path / "images")]
    assert recipe.hash == images(recipe).hash
    assert [line["event"] for line in metrics_of(runs[0])].count("features") == 1
    assert [line["event"] for line in metrics_of(runs[1])].count("features") == 0
    left, right = (
        [line for line in metrics_of(run) if line["event"] == "epoch" and line["stage"] == 1] for run in runs
    )
    assert [line["parts"].keys() for line in left] == [line["parts"].keys() for line in right]
    for one, other in zip(left, right, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-6)  # logged from float32
    for name, value in weights_of(runs[0]).items():
        torch.testing.assert_close(value, weights_of(runs[1])[name], rtol=1e-10, atol=1e-12)
    host = dataclasses.replace(recipe.data, path="host", workers=0)
    other = train(dataclasses.replace(recipe, data=host), tmp_path / "host")
    assert same_weights(weights_of(runs[0]), weights_of(other))


def test_the_backbone_does_not_run_in_a_step_with_a_bank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (training,), runtime, work = in_second_stage(phases(), tmp_path)
    assert isinstance(training.source, BankSource)
    monkeypatch.setattr(Network, "maps", None)
    for _ in EagerExecutor(runtime, [training]).steps(work):
        pass


@pytest.mark.parametrize("variant", ["bank", "depth"])
def test_a_run_resumed_inside_phase_two_equals_an_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variant: str
) -> None:
    recipe = phases() if variant == "bank" else at_depth(phases(), "layer2", ("stage3",))
    whole = train(recipe, tmp_path / "whole")
    for after in (0, 1, 4):
        cut = tmp_path / f"cut{after}"
        with monkeypatch.context() as patch, pytest.raises(Interrupted):
            stop_at(patch, 4 + after)
            train(recipe, cut)
        resumed = train(recipe, cut, resume=True)
        assert same_weights(weights_of(whole), weights_of(resumed))
        left, right = (
            [line for line in metrics_of(run) if line["event"] not in ("features",)] for run in (whole, resumed)
        )
        assert left == right
        assert result_of(whole)["stages"] == result_of(resumed)["stages"]
        name = "stage1-confusion.safetensors"
        assert (whole / name).read_bytes() == (resumed / name).read_bytes()


def test_resuming_without_the_file_of_the_stage_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, run = phases(), tmp_path / "run"
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        stop_at(patch, 5)
        train(recipe, run)
    path = run / "stage1-confusion.safetensors"
    path.unlink()
    with pytest.raises(RunError) as error:
        train(recipe, run, resume=True)
    assert str(error.value) == (
        f"{path} is missing: the confusing classes and the classifier that the stage began with, without which the run "
        "cannot go on; put the file back, or start the run anew in another --out"
    )


def test_the_file_holds_confusing_classes_and_the_classifier_of_phase_one(tmp_path: Path) -> None:
    recipe = phases()
    first = weights_of(train(dataclasses.replace(recipe, stages=recipe.stages[:1]), tmp_path / "first"))
    held = load_weights(train(recipe, tmp_path / "run") / "stage1-confusion.safetensors")
    assert torch.equal(held["classifier"], first["head.fc.weight"])
    assert held["confusing"].shape == (4, 3)
    assert all(label not in row for label, row in enumerate(held["confusing"].tolist()))


def test_a_captured_step_equals_ordinary_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager", fullgraph=True))
    recipe = dataclasses.replace(phases(), precision="fp64")
    plain, runtime, work = in_second_stage(recipe, tmp_path / "plain")
    for _ in EagerExecutor(runtime, plain).steps(work):
        pass
    others, runtime, other_work = in_second_stage(recipe, tmp_path / "program")
    program = StepProgram(others, runtime, other_work, compiled=True)
    program.load(other_work)
    for _ in other_work[0].rates:
        program()
    program.close()
    expected = state(plain[0])
    for key, value in state(others[0]).items():
        torch.testing.assert_close(value, expected[key], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("variant", ["bank", "images", "depth"])
def test_runs_side_by_side_have_confusions_of_their_own(tmp_path: Path, variant: str) -> None:
    recipe = phases()
    if variant != "bank":
        recipe = images(recipe) if variant == "images" else at_depth(recipe, "layer2", ("stage3",))
    recipe = dataclasses.replace(recipe, precision="fp64", run=dataclasses.replace(recipe.run, at_once=2))
    recipes = [recipe, dataclasses.replace(recipe, seed=3)]
    outcomes = train_many(recipes, [tmp_path / f"stack{number}" for number in range(2)])
    for number, (single, outcome) in enumerate(zip(recipes, outcomes, strict=True)):
        together = json.loads((outcome.folder / "result.json").read_text())
        assert together["at_once"] == 2
        assert together["executor"] == ("eager" if variant == "bank" else "stacked")
        close(weights_of(outcome.folder), weights_of(alone(single, tmp_path / f"own{number}")))


def test_fallbacks_are_in_the_log(tmp_path: Path) -> None:
    class Blank(FeatureSpace):
        """Every vector is zero."""

        def counted(self, maps: Any, targets: Any, classifier_weight: Any, row: Any) -> Any:
            return super().counted(torch.zeros_like(maps), targets, classifier_weight, row)

    blank = dataclasses.dataclass(frozen=True, kw_only=True)(Blank)()
    (training,), runtime, work = in_second_stage(phases(augment=blank), tmp_path)
    for _ in EagerExecutor(runtime, [training]).steps(work):
        pass
    # 2 tail images and 6 confusing ones in each of 3 steps.
    assert float(training.meter.parts["fallbacks"]) == 24  # pyright: ignore[reportOptionalMemberAccess]


def test_result_holds_the_confusion_with_which_phase_one_ended(tmp_path: Path) -> None:
    recipe = phases()
    recipe = dataclasses.replace(recipe, evaluate=dataclasses.replace(recipe.evaluate, every=1000, last=1))
    first = result_of(train(dataclasses.replace(recipe, stages=recipe.stages[:1]), tmp_path / "first"))
    result = result_of(train(recipe, tmp_path / "run"))
    assert list(result["stages"]) == ["0"]
    assert result["stages"]["0"]["confusion"] == first["confusion"]
    assert result["stages"]["0"]["last"]["top1"] == first["last"]["top1"]
    assert first["stages"] == {}


def refusal(recipe: Recipe, folder: Path) -> str:
    with pytest.raises(TailwiseError) as error:
        train(recipe, folder / "run")
    assert not (folder / "run").exists()
    return str(error.value)


def test_what_cannot_work_is_refused_before_training(tmp_path: Path) -> None:
    recipe = phases()
    balanced = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, imbalance_factor=None))
    assert refusal(balanced, tmp_path) == (
        "stage 1, stream 'tail': h_r (share) = 0.9 leaves no tail class: all 4 classes are needed to hold that share "
        "of the images; at most 0.75 leaves one here"
    )
    many = replace_stream(recipe, 1, "confusing", sampler=ConfusingClasses(num_classes=4))
    assert refusal(many, tmp_path) == (
        "stage 1, stream 'confusing': N_f (num_classes) = 4 confusing classes, but a class has 3 other classes here; "
        "at most 3"
    )
    alone_ = dataclasses.replace(recipe, stages=recipe.stages[1:])
    assert refusal(alone_, tmp_path) == (
        "stage 0 changes features by class activation maps, and no classifier is trained before it; put a stage "
        "without it first, or give --stages.0.start-from the model.safetensors of a run"
    )
    assert refusal(replace_stage(recipe, 1, reset=("head",)), tmp_path) == (
        "stage 1 changes features by class activation maps, but it resets the head, so that no trained classifier is "
        "left; leave `reset` empty in this stage"
    )
    small = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, image_size=4))
    assert refusal(small, tmp_path).startswith(
        "feature_space draws from the positions of a map, and here a map has one"
    )
    deep = replace_stage(at_depth(recipe, "layer2", ("stage3",)), 1, images="augmented")
    assert refusal(deep, tmp_path) == (
        "stage 1 changes features by class activation maps inside the backbone, which are those of plain images; show "
        "plain images in this stage (--stages.1.images plain)"
    )
    cropped = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, augmentation="random_resized_crop"))
    assert refusal(cropped, tmp_path).startswith("stage 1 shows plain images, for which whole images are needed")


def test_a_backbone_without_maps_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = Network.maps
    monkeypatch.setattr(Network, "maps", lambda self, x: original(self, x).mean((2, 3)))
    assert refusal(phases(), tmp_path).startswith(
        "backbone 'resnet20' with head 'linear': class activation maps need a backbone with feature maps [B, D, h, w]"
    )


def test_plain_images_are_neither_cropped_nor_flipped(tmp_path: Path) -> None:
    (training,), _, work = in_second_stage(phases(), tmp_path)
    for stream in work[0].plan.streams.values():
        assert (stream.crop == training.recipe.data.padding).all()
        assert not stream.flip.any()
    (other,), _, work = in_second_stage(phases(images="augmented"), tmp_path / "augmented")
    assert any(stream.flip.any() for stream in work[0].plan.streams.values())
    labels, tail = other.labels, work[0].plan.streams["tail"].index
    assert other.stats.is_tail(0.9)[labels[tail]].all()
    assert not other.stats.is_tail(0.9)[labels[work[0].plan.streams["head"].index]].any()
    assert isinstance(other.stage.streams["tail"].sampler, TailClasses)
    assert np.unique(tail).size > 1
