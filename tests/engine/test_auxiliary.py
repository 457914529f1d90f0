"""Auxiliary tasks in the step: who gets whose gradient, how turned images go through, the same in every executor."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch.nn import functional

from tailwise.augment.rotation import Rotation
from tailwise.core.stats import ClassStats
from tailwise.data.plan import make_plan
from tailwise.data.resident import ResidentSource
from tailwise.engine.load import load_network
from tailwise.engine.loop import Interrupted
from tailwise.engine.optim import lr_factor
from tailwise.engine.program import StepProgram
from tailwise.engine.recipe import Optim, Recipe
from tailwise.engine.task import Task
from tailwise.engine.train import train, train_many
from tailwise.heads.multi import Multi
from tailwise.losses.balanced_softmax import BalancedSoftmax
from tailwise.objectives.classification import Classification
from tailwise.recipes.auxiliary import class_balanced, fine_tuned, with_auxiliary
from tailwise.recipes.base import replace_stage, replace_stream
from tests.engine.test_program import begun, run_eagerly, state
from tests.engine.test_resume import stop_at
from tests.helpers import metrics_of, result_of, same_weights, tiny_recipe, weights_of

WEIGHTS = (0.5, 1.0, 1.0)
RNG = np.random.default_rng(0)
LABELS = np.repeat(np.arange(4), 10)
IMAGES = RNG.integers(0, 256, (40, 3, 8, 8), dtype=np.uint8)
STATS = ClassStats([10] * 4)


def auxiliary_recipe(
    forward: Literal["second", "joint"] = "second", hidden: int | None = None, epochs: int = 2, **run: object
) -> Recipe:
    base = replace_stream(tiny_recipe(epochs=epochs, **run), 0, batch=16)
    return with_auxiliary(class_balanced(base), weights=WEIGHTS, rotation=Rotation(forward=forward), hidden=hidden)


def one_step(recipe: Recipe, *, objective: tuple[Any, ...] | None = None) -> tuple[Task, Any, dict[str, Any]]:
    """A task in float64 in its first stage, a batch, and the output of a step on it."""
    if objective is not None:
        recipe = replace_stage(recipe, 0, objective=objective)
    (stage,) = recipe.stages
    plan = make_plan(stage, recipe.data, LABELS, STATS, seed=0, stage_number=0, epoch=0, progress=0.0, steps=1)
    torch.manual_seed(0)
    task = Task(recipe, STATS).double()
    task.enter(stage)
    batch = next(ResidentSource(IMAGES, LABELS, torch.device("cpu")).batches(plan))
    return task, batch, task(batch)


def reached(task: Task, name: str) -> bool:
    """Whether a gradient that is not zero has arrived at parameters of that beginning."""
    found = [item.grad for key, item in task.network.named_parameters() if key.startswith(name)]
    assert found
    return any(gradient is not None and bool(gradient.abs().sum() > 0) for gradient in found)


@pytest.mark.parametrize("hidden", [None, 8])
@pytest.mark.parametrize("forward", ["second", "joint"])
@pytest.mark.parametrize("part", [0, 1, 2])
def test_each_head_learns_from_its_own_task_and_the_features_from_all(
    part: int, forward: Literal["second", "joint"], hidden: int | None
) -> None:
    recipe = auxiliary_recipe(forward, hidden)
    task, _, output = one_step(recipe, objective=(recipe.stages[0].objective[part],))
    output["loss"].backward()
    heads = ["head.main.", "head.extra.auxiliary.", "head.extra.rotation."]
    assert [reached(task, head) for head in heads] == [number == part for number in range(3)]
    assert reached(task, "backbone.conv")
    assert hidden is None or reached(task, "head.shared.")


@pytest.mark.parametrize(("part", "blind"), [(0, "auxiliary"), (1, "main")])
def test_a_class_head_does_not_depend_on_the_labels_of_the_other_stream(part: int, blind: str) -> None:
    recipe = auxiliary_recipe()
    gradients = []
    for shift in (0, 1):
        task, batch, _ = one_step(recipe)
        batch[blind]["label"] = (batch[blind]["label"] + shift) % 4
        task.zero_grad()
        task(batch)["loss"].backward()
        head = task.network.head.get_submodule("main" if part == 0 else "extra.auxiliary")
        gradients.append([parameter.grad for parameter in head.parameters()])
    assert all(torch.equal(left, right) for left, right in zip(*gradients, strict=True))  # type: ignore[arg-type]


@pytest.mark.parametrize("forward", ["second", "joint"])
def test_the_total_is_the_weighted_sum_of_three_cross_entropies(forward: Literal["second", "joint"]) -> None:
    recipe = auxiliary_recipe(forward, hidden=8)
    task, batch, output = one_step(recipe)
    twin = Task(recipe, STATS).double()
    twin.load_state_dict(task.state_dict(), strict=False)
    network = twin.network
    # by hand: crop and flip, both streams in one batch, then its turned copy
    both = torch.cat(
        [network.pixel(*(batch[name][key] for key in ("image", "crop", "flip"))) for name in ("main", "auxiliary")]
    )
    angles = batch["rotation"]["turns"]
    turned = torch.stack([torch.rot90(image, int(k), (1, 2)) for image, k in zip(both, angles, strict=True)])
    if forward == "second":
        upright, rotated = network.maps(both), network.maps(turned)
    else:
        upright, rotated = network.maps(torch.cat([both, turned])).split(32)
    state = network.head.state_dict()

    def logits(maps: torch.Tensor, layer: str) -> torch.Tensor:
        features = functional.linear(maps.mean((2, 3)), state["shared.weight"], state["shared.bias"]).relu()
        return functional.linear(features, state[f"{layer}.weight"], state[f"{layer}.bias"])

    expected = {
        "main/cross_entropy": 0.5 * functional.cross_entropy(logits(upright[:16], "main.fc"), batch["main"]["label"]),
        "auxiliary/cross_entropy": functional.cross_entropy(
            logits(upright[16:], "extra.auxiliary"), batch["auxiliary"]["label"]
        ),
        "rotation/pretext": functional.cross_entropy(logits(rotated, "extra.rotation"), angles),
    }
    assert list(output["parts"]) == list(expected)
    for name, value in expected.items():
        torch.testing.assert_close(output["parts"][name], value.detach(), rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(output["loss"], sum(expected.values()), rtol=1e-6, atol=1e-8)


def test_the_running_averages_learn_of_upright_images_only() -> None:
    task, _, _ = one_step(auxiliary_recipe("second"))
    without, _, _ = one_step(with_auxiliary(class_balanced(replace_stream(tiny_recipe(), 0, batch=16))))
    joint, _, _ = one_step(auxiliary_recipe("joint"))
    averages = [
        {key: value for key, value in item.network.backbone.state_dict().items() if "running" in key}
        for item in (task, without, joint)
    ]
    assert averages[0]
    assert all(torch.equal(averages[0][key], averages[1][key]) for key in averages[0])
    assert any(not torch.equal(averages[0][key], averages[2][key]) for key in averages[0])
    momenta = {layer.momentum for layer in task.modules() if isinstance(layer, torch.nn.BatchNorm2d)}
    assert momenta == {0.1}


@pytest.fixture
def strict_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager", fullgraph=True))


def two_rates(recipe: Recipe) -> Recipe:
    optim = recipe.stages[0].optim
    assert optim is not None
    return replace_stage(recipe, 0, optim=dataclasses.replace(optim, lr_factors={r"backbone\.": 0.1}))


@pytest.mark.parametrize(("forward", "compiled"), [("second", True), ("joint", False)])
@pytest.mark.usefixtures("strict_compiler")
def test_a_stack_and_a_program_compute_what_ordinary_steps_compute(
    tmp_path: Path, forward: Literal["second", "joint"], compiled: bool
) -> None:
    recipe = two_rates(dataclasses.replace(auxiliary_recipe(forward, hidden=8, class_losses=True), precision="fp64"))
    plain, runtime, work = begun(recipe, tmp_path / "plain", runs=2)
    run_eagerly(plain, runtime, work)
    stacked, runtime, stacked_work = begun(recipe, tmp_path / "stack", runs=2)
    (single,), _, single_work = begun(recipe, tmp_path / "program")
    for trainings, item, compile_it in ((stacked, stacked_work, compiled), ([single], single_work, False)):
        program = StepProgram(trainings, runtime, item, compiled=compile_it)
        program.load(item)
        for _ in item[0].rates:
            program()
        program.close()
    for left, right, mine, theirs in zip(
        [*plain, plain[0]], [*stacked, single], [*work, work[0]], [*stacked_work, *single_work], strict=True
    ):
        expected = state(left)
        for name, value in state(right).items():
            torch.testing.assert_close(value, expected[name], rtol=1e-7, atol=1e-9, msg=lambda m, n=name: f"{n}: {m}")
        assert mine.meter.parts.keys() == theirs.meter.parts.keys()
        for name, value in theirs.meter.parts.items():
            torch.testing.assert_close(value.double(), mine.meter.parts[name].double(), rtol=1e-5, atol=1e-5)


def test_a_run_logs_every_part_and_names_small_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = auxiliary_recipe(class_losses=True)
    recipe = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, imbalance_factor=20.0))
    monkeypatch.setattr("tailwise.engine.result.draw", lambda folder: None)
    folder = train(recipe, tmp_path / "run")
    lines = metrics_of(folder)
    epoch = next(line for line in lines if line["event"] == "epoch")
    assert list(epoch["parts"]) == ["main/cross_entropy", "auxiliary/cross_entropy", "rotation/pretext"]
    assert math.isclose(sum(epoch["parts"].values()), epoch["loss"], rel_tol=1e-5)
    losses = next(line for line in lines if line["event"] == "class losses")
    steps = epoch["step"]
    assert sum(losses["images"]) == 16 * steps
    mean = sum(n * loss for n, loss in zip(losses["images"], losses["loss"], strict=True) if n) / (16 * steps)
    assert math.isclose(0.5 * mean, epoch["parts"]["main/cross_entropy"], rel_tol=1e-5)
    result = result_of(folder)
    assert result["images_per_step"] == 64
    assert any("are drawn from with replacement" in note for note in result["notes"])


def test_what_is_saved_holds_the_main_head_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tailwise.engine.result.draw", lambda folder: None)
    folder = train(auxiliary_recipe(epochs=1), tmp_path / "run")
    assert sorted(name for name in weights_of(folder) if name.startswith("head.")) == ["head.fc.bias", "head.fc.weight"]
    recipe, network, result = load_network(folder)
    assert recipe.head == Multi(rotation=True)
    assert network.head.names == ("main",)
    assert result.record["parameters"] == sum(item.numel() for item in network.parameters())
    # The weights are a beginning for recipes with and without auxiliary heads.
    for following in (tiny_recipe(epochs=1), auxiliary_recipe(epochs=1)):
        path = str(folder / "model.safetensors")
        begun_from = replace_stage(following, 0, start_from=path)
        (training,), _, _ = begun(begun_from, tmp_path / following.hash)
        assert torch.equal(
            training.network.for_inference().state_dict()["head.fc.weight"], weights_of(folder)["head.fc.weight"]
        )


def test_resume_in_mid_epoch_equals_an_uninterrupted_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = two_rates(auxiliary_recipe(hidden=8, class_losses=True))
    monkeypatch.setattr("tailwise.engine.result.draw", lambda folder: None)  # most of the time of so short a run
    whole = train(recipe, tmp_path / "whole")
    with monkeypatch.context() as patch, pytest.raises(Interrupted, match="step 7 of "):
        stop_at(patch, 7)
        train(recipe, tmp_path / "cut")
    resumed = train(recipe, tmp_path / "cut", resume=True)
    assert same_weights(weights_of(whole), weights_of(resumed))
    assert metrics_of(whole) == metrics_of(resumed)


def test_the_stage_wise_recipe_keeps_the_features_and_begins_a_new_classifier(tmp_path: Path) -> None:
    base = replace_stream(tiny_recipe(epochs=3), 0, batch=16)
    recipe = fine_tuned(dataclasses.replace(base, head=Multi(auxiliary=False, hidden=8)))
    assert [stage.epochs for stage in recipe.stages] == [3, 1]
    (training,), _, _ = begun(recipe, tmp_path)
    before = {name: value.clone() for name, value in training.network.state_dict().items()}
    training.stage_number = 1
    training.enter()
    after = training.network.state_dict()
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed == {"head.main.fc.weight", "head.main.fc.bias"}
    assert training.optimizer is not None
    assert [lr_factor(group) for group in training.optimizer.param_groups] == [1.0]


def test_runs_of_a_stack_may_have_other_auxiliary_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = auxiliary_recipe(at_once=2, epochs=1)
    objective = tuple(dataclasses.replace(item, weight=2.0) for item in first.stages[0].objective)
    second = dataclasses.replace(replace_stage(first, 0, objective=objective), seed=1)
    monkeypatch.setattr("tailwise.engine.result.draw", lambda folder: None)
    together = train_many([first, second], [tmp_path / "a", tmp_path / "b"])
    assert all(outcome.error is None for outcome in together)
    assert json.loads((tmp_path / "a" / "result.json").read_text())["executor"] == "stacked"


def test_the_main_task_keeps_its_loss() -> None:
    base = replace_stage(
        replace_stream(tiny_recipe(), 0, batch=16),
        0,
        objective=(Classification(loss=BalancedSoftmax()),),
        optim=Optim(),
    )
    task, _, output = one_step(with_auxiliary(base))
    assert list(output["parts"]) == ["main/balanced_softmax", "auxiliary/cross_entropy"]
    assert task.stream_names == ("main", "auxiliary")


def test_four_turns_show_every_image_four_times() -> None:
    recipe = with_auxiliary(class_balanced(replace_stream(tiny_recipe(), 0, batch=16)))
    for name in ("main", "auxiliary"):
        recipe = replace_stream(recipe, 0, name, four_turns=True)
    assert recipe.stages[0].images_per_step == 128
    task, batch, output = one_step(recipe)
    assert task.inputs(batch).image.shape == (128, 3, 8, 8)
    assert task.inputs(batch).rows == {"main": (0, 64), "auxiliary": (64, 128)}
    assert 0 <= int(output["hits"]) <= 64
