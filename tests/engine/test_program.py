"""The step as a function on fixed buffers computes what ordinary steps compute, also when it is compiled."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import pytest
import torch

from tailwise.core.errors import RunError
from tailwise.engine.capture import Snapshot
from tailwise.engine.execute import check_executor, choose_executor, why_not_captured
from tailwise.engine.prepare import prepare
from tailwise.engine.program import StepProgram
from tailwise.engine.recipe import Optim, Recipe
from tailwise.engine.run_folder import RunFolder
from tailwise.engine.runtime import Runtime
from tailwise.engine.sources import make_source, make_split
from tailwise.engine.step import EagerExecutor, Executor
from tailwise.engine.training import EpochWork, Training
from tailwise.recipes.base import replace_stage
from tests.helpers import tiny_recipe


def begun(recipe: Recipe, folder: Path, runs: int = 1) -> tuple[list[Training], Runtime, list[EpochWork]]:
    """Trainings that stand at their first epoch, with neighbouring seeds."""
    runtime = Runtime("cpu", recipe.precision)
    prepared = prepare(recipe.data, runtime.device, lambda line: None)
    source, split = make_source(recipe, prepared, runtime), make_split(recipe, prepared, runtime)
    trainings = [
        Training(
            dataclasses.replace(recipe, seed=seed), prepared, source, split, runtime, RunFolder(folder / str(seed))
        )
        for seed in range(runs)
    ]
    for training in trainings:
        training.enter()
    return trainings, runtime, [training.begin_epoch() for training in trainings]


def state(training: Training) -> dict[str, torch.Tensor]:
    """Weights, averages and optimiser after some steps."""
    assert training.optimizer is not None
    found = dict(training.network.state_dict())
    if training.ema is not None:
        found |= {f"ema.{name}": value for name, value in training.ema.module.state_dict().items()}
    for number, values in enumerate(training.optimizer.state.values()):
        found |= {f"optimizer.{number}.{name}": value for name, value in values.items()}
    return {name: value.detach().clone() for name, value in found.items()}


def run_eagerly(trainings: list[Training], runtime: Runtime, work: list[EpochWork]) -> None:
    for _ in EagerExecutor(runtime, trainings).steps(work):
        pass


@pytest.fixture
def strict_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiler's whole front half, which refuses to break the graph; kernels are PyTorch's own."""
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager", fullgraph=True))


@pytest.mark.parametrize("optim", [Optim(), Optim(kind="adamw", lr=1e-3)])
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.usefixtures("strict_compiler")
def test_an_epoch_of_the_program_equals_an_epoch_of_ordinary_steps(
    tmp_path: Path, optim: Optim, compiled: bool
) -> None:
    recipe = dataclasses.replace(replace_stage(tiny_recipe(), 0, optim=optim), precision="fp64", ema=0.9)
    (plain,), runtime, work = begun(recipe, tmp_path / "plain")
    run_eagerly([plain], runtime, work)
    (other,), runtime, other_work = begun(recipe, tmp_path / "program")
    program = StepProgram([other], runtime, other_work, compiled=compiled)
    program.load(other_work)
    for done in range(1, len(other_work[0].rates) + 1):
        program()
        other_work[0].meter.done = done
    expected = state(plain)
    for name, value in state(other).items():
        torch.testing.assert_close(
            value, expected[name], rtol=1e-9, atol=1e-11, msg=lambda text, name=name: f"{name}: {text}"
        )
    torch.testing.assert_close(other_work[0].meter.losses, work[0].meter.losses)
    assert int(other_work[0].meter.hits) == int(work[0].meter.hits)
    assert other_work[0].meter.parts.keys() == work[0].meter.parts.keys()
    assert len(set(other_work[0].meter.losses.tolist())) == len(other_work[0].rates)


@pytest.mark.usefixtures("strict_compiler")
def test_a_compiled_stack_equals_ordinary_steps(tmp_path: Path) -> None:
    recipe = dataclasses.replace(tiny_recipe(), precision="fp64")
    plain, runtime, work = begun(recipe, tmp_path / "plain", runs=2)
    run_eagerly(plain, runtime, work)
    others, runtime, other_work = begun(recipe, tmp_path / "stack", runs=2)
    program = StepProgram(others, runtime, other_work, compiled=True)
    program.load(other_work)
    for _ in other_work[0].rates:
        program()
    program.close()
    for left, right in zip(plain, others, strict=True):
        expected = state(left)
        for name, value in state(right).items():
            torch.testing.assert_close(value, expected[name], rtol=1e-8, atol=1e-10)


def test_the_warm_up_before_a_capture_leaves_no_trace(tmp_path: Path) -> None:
    recipe = dataclasses.replace(tiny_recipe(), ema=0.9)
    (training,), runtime, work = begun(recipe, tmp_path / "warm")
    program = StepProgram([training], runtime, work, compiled=False)
    program.load(work)
    snapshot = Snapshot(program)
    before, rng = state(training), torch.get_rng_state()
    for _ in range(3):
        program()
        torch.rand(1)
    assert any(not torch.equal(value, before[name]) for name, value in training.network.state_dict().items())
    snapshot.restore()
    assert torch.equal(torch.get_rng_state(), rng)
    assert int(program.cursor) == 0
    assert not program.meters[0].losses.any()
    assert not int(program.meters[0].hits)
    for name, value in state(training).items():
        expected = before.get(name, torch.zeros_like(value))
        assert torch.equal(value, expected), name
    for _ in work[0].rates:
        program()
    (plain,), runtime, plain_work = begun(recipe, tmp_path / "plain")
    run_eagerly([plain], runtime, plain_work)
    torch.testing.assert_close(program.meters[0].losses, plain_work[0].meter.losses)


def test_buffers_begin_in_mid_epoch(tmp_path: Path) -> None:
    recipe = dataclasses.replace(tiny_recipe(), precision="fp64")
    (plain,), runtime, work = begun(recipe, tmp_path / "plain")
    run_eagerly([plain], runtime, work)
    (other,), runtime, other_work = begun(recipe, tmp_path / "program")
    for done in EagerExecutor(runtime, [other]).steps(other_work):
        if done == 2:
            break
    program = StepProgram([other], runtime, other_work, compiled=False)
    program.load(other_work)
    for _ in range(2, len(other_work[0].rates)):
        program()
    torch.testing.assert_close(other_work[0].meter.losses, work[0].meter.losses)
    assert int(other_work[0].meter.hits) == int(work[0].meter.hits)


def test_a_capture_that_is_forced_and_impossible_is_refused(tmp_path: Path) -> None:
    recipe = tiny_recipe(executor="captured")
    (training,), runtime, _ = begun(recipe, tmp_path)
    with pytest.raises(RunError) as error:
        check_executor(recipe, training.source, runtime)
    assert str(error.value) == (
        "--executor captured is not possible: the device is cpu, and only a CUDA device has graphs; "
        "allowed here: auto, eager, compiled"
    )
    assert why_not_captured(recipe, training.source, runtime) is not None


@pytest.mark.parametrize(
    ("executor", "runs", "kind"),
    [("auto", 1, "eager"), ("eager", 2, "eager"), ("auto", 2, "stacked"), ("compiled", 1, "compiled")],
)
def test_the_executor_is_chosen_by_device_and_wish(tmp_path: Path, executor: str, runs: int, kind: str) -> None:
    trainings, runtime, _ = begun(tiny_recipe(executor=executor), tmp_path, runs)
    chosen: Executor = choose_executor(trainings, runtime, lambda line: None)
    assert chosen.kind == kind
