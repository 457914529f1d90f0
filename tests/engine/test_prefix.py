"""Runs that share their first stages end as runs that share nothing, bit for bit."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from tailwise.core.errors import RunError
from tailwise.engine.loop import Loop
from tailwise.engine.prefix import prefix_key
from tailwise.engine.recipe import Optim, Recipe, Stage
from tailwise.engine.schedule import Constant, MultiStep
from tailwise.engine.train import train, train_many
from tailwise.engine.training import Training
from tailwise.losses.balanced_softmax import BalancedSoftmax
from tailwise.objectives.classification import Classification
from tailwise.recipes.base import make_recipe
from tailwise.samplers.power import Power
from tests.helpers import metrics_of, result_of, same_weights, tiny_recipe, weights_of


def deferred(name: str, *, restart: bool = False, ema: float | None = None, **changes: object) -> Recipe:
    """Two epochs alike for all, then one with the changes; the optimiser is carried on or begins anew."""
    recipe = tiny_recipe(epochs=3)
    schedule = MultiStep(milestones=(2,), gamma=0.1, warmup_epochs=1)
    first = dataclasses.replace(recipe.stages[0], epochs=2, optim=Optim(schedule=schedule))
    last: Stage = dataclasses.replace(first, epochs=1, optim=Optim(lr=0.02) if restart else None, **changes)
    return dataclasses.replace(recipe, name=name, stages=(first, last), ema=ema)


def family(ema: float | None = None) -> list[Recipe]:
    weighted = (Classification(loss=BalancedSoftmax()),)
    sampled = deferred("x").stages[0].streams["main"]
    return [
        deferred("re-weighted", objective=weighted, ema=ema),
        deferred("re-sampled", streams={"main": dataclasses.replace(sampled, sampler=Power(q=0.0))}, ema=ema),
        deferred("restarted", restart=True, objective=weighted, ema=ema),
    ]


def without_note(folder: Path) -> dict[str, object]:
    return {key: value for key, value in result_of(folder).items() if key != "shared_stages"}


@pytest.mark.parametrize("ema", [None, pytest.param(0.8, marks=pytest.mark.slow)])
def test_shared_stages_change_nothing_and_are_trained_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ema: float | None
) -> None:
    recipes = family(ema)
    alone = [train(recipe, tmp_path / "alone" / recipe.name) for recipe in recipes]
    epochs: list[tuple[str, int]] = []
    end_epoch = Training.end_epoch

    def counted(training: Training, speed: float) -> None:
        epochs.append((training.recipe.name, training.stage_number))
        end_epoch(training, speed)

    monkeypatch.setattr(Training, "end_epoch", counted)
    outs = [tmp_path / "shared" / recipe.name for recipe in recipes]
    train_many(recipes, outs, resume=True, prefixes=tmp_path / "prefixes")
    assert epochs == [("re-weighted", 0)] * 2 + [("re-weighted", 1), ("re-sampled", 1), ("restarted", 1)]
    for one, other in zip(alone, outs, strict=True):
        assert same_weights(weights_of(one), weights_of(other))
        assert metrics_of(one) == metrics_of(other)
        assert without_note(one) == without_note(other)
    assert [result_of(out)["shared_stages"] is None for out in outs] == [True, False, False]


@pytest.mark.slow
def test_a_run_that_has_gone_further_is_left_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, _ = family()
    original = Loop.__init__

    def stopping(loop: Loop, *arguments: object) -> None:
        original(loop, *arguments)  # pyright: ignore[reportArgumentType]
        loop.stop = lambda: loop.live[0].stage_number == 1

    with monkeypatch.context() as patch, pytest.raises(Exception, match="stopped at step"):
        patch.setattr(Loop, "__init__", stopping)
        train(second, tmp_path / "second")
    train_many([first, second], [tmp_path / "first", tmp_path / "second"], resume=True, prefixes=tmp_path / "prefixes")
    assert result_of(tmp_path / "second")["shared_stages"] is None
    assert same_weights(weights_of(tmp_path / "second"), weights_of(train(second, tmp_path / "alone")))


def test_only_what_acts_in_the_stages_tells_prefixes_apart() -> None:
    def key(recipe: Recipe, images: int = 160, device: str = "cpu") -> str:
        return prefix_key(recipe, 1, images, device)

    recipes = family()
    plain = recipes[0]
    first, last = plain.stages
    assert first.optim is not None
    same_rates = dataclasses.replace(first, optim=dataclasses.replace(first.optim, schedule=Constant()))
    sooner = MultiStep(milestones=(1,), gamma=0.1, warmup_epochs=1)
    other_rates = dataclasses.replace(first, optim=dataclasses.replace(first.optim, schedule=sooner))
    same = {key(recipe) for recipe in [*recipes, dataclasses.replace(plain, stages=(same_rates, last))]}
    assert len(same) == 1
    different = [
        key(dataclasses.replace(plain, stages=(other_rates, last))),
        key(dataclasses.replace(plain, stages=(dataclasses.replace(first, epochs=3), last))),
        key(dataclasses.replace(plain, stages=(dataclasses.replace(first, objective=last.objective), last))),
        key(dataclasses.replace(plain, evaluate=dataclasses.replace(plain.evaluate, every=2, last=1))),
        key(dataclasses.replace(plain, ema=0.5)),
        key(dataclasses.replace(plain, data=dataclasses.replace(plain.data, fingerprint="another"))),
        key(plain, images=320),
        key(plain, device="cuda"),
    ]
    assert len({*different, *same}) == len(different) + 1


@pytest.mark.slow
def test_maps_of_shared_stages_go_with_them(tmp_path: Path) -> None:
    recipe = make_recipe("cam-balance-sampling", tiny_recipe(epochs=5))
    *before, last = recipe.stages
    assert last.optim is not None
    # The third stage generates with the maps that the second one made.
    ends = [dataclasses.replace(last, epochs=1, optim=dataclasses.replace(last.optim, lr=lr)) for lr in (0.01, 0.03)]
    recipes = [
        dataclasses.replace(recipe, name=name, stages=(*before, last, end))
        for name, end in zip(("one", "other"), ends, strict=True)
    ]
    alone = train(recipes[1], tmp_path / "alone")
    outs = [tmp_path / "shared" / item.name for item in recipes]
    train_many(recipes, outs, resume=True, prefixes=tmp_path / "prefixes")
    assert result_of(outs[1])["shared_stages"] == {**result_of(outs[1])["shared_stages"], "stages": 2}
    assert (outs[1] / "stage1-cam.safetensors").is_file()
    assert same_weights(weights_of(alone), weights_of(outs[1]))
    assert without_note(alone) == without_note(outs[1])
    assert [line for line in metrics_of(alone) if line["event"] != "maps"] == [
        line for line in metrics_of(outs[1]) if line["event"] != "maps"
    ]


def test_a_damaged_end_of_a_stage_is_named_before_anything_is_trained(tmp_path: Path) -> None:
    first, second, _ = family()
    train_many([first], [tmp_path / "first"], resume=True, prefixes=tmp_path / "prefixes")
    (weights,) = (tmp_path / "prefixes").rglob("model.safetensors")
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(
        RunError, match=r"model\.safetensors is not what was written.* several runs share, and can be deleted"
    ):
        train_many([second], [tmp_path / "second"], resume=True, prefixes=tmp_path / "prefixes")
    assert not (tmp_path / "second").exists()
