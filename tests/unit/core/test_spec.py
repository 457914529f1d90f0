from __future__ import annotations

import dataclasses

import pytest

from tailwise.core.spec import SpecError, differences, from_plain, from_yaml, parse_call, spec_hash, to_plain, to_yaml
from tailwise.engine.recipe import Recipe
from tailwise.samplers.power import Power
from tests.helpers import tiny_recipe


def test_yaml_round_trip_gives_the_same_recipe() -> None:
    recipe = tiny_recipe("balanced-softmax")
    assert from_yaml(Recipe, to_yaml(recipe), "x: ") == recipe


def test_hash_does_not_depend_on_folder_seed_device_or_name() -> None:
    recipe = tiny_recipe()
    data = dataclasses.replace(recipe.data, root="elsewhere", workers=7, path="host")
    other = dataclasses.replace(
        recipe, name="other", seed=9, data=data, run=dataclasses.replace(recipe.run, log_every=3)
    )
    assert spec_hash(other) == spec_hash(recipe)


def test_whole_numbers_and_floats_are_one_recipe() -> None:
    recipe = tiny_recipe()
    whole = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, imbalance_factor=2))
    point = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, imbalance_factor=2.0))
    assert spec_hash(whole) == spec_hash(point) == spec_hash(from_yaml(Recipe, to_yaml(whole), ""))
    assert spec_hash(whole) != spec_hash(recipe)


@pytest.mark.parametrize(
    "change",
    [
        {"precision": "bf16"},
        {"ema": 0.9},
        {"data.imbalance_factor": 10.0},
        {"evaluate.select": "best_on_test"},
        {"stages.0.optim.lr": 0.2},
        {"stages.0.streams.main.sampler.q": 0.0},
        {"stages.0.objective.0.loss.smoothing": 0.1},
    ],
)
def test_hash_depends_on_everything_that_determines_a_number(change: dict[str, object]) -> None:
    recipe = tiny_recipe()
    plain = to_plain(recipe)
    for path, value in change.items():
        *parents, leaf = path.split(".")
        at = plain
        for name in parents:
            at = at[int(name)] if name.isdigit() else at[name]
        at[leaf] = value
    changed = from_plain(Recipe, plain)
    assert spec_hash(changed) != spec_hash(recipe)
    assert [row[0] for row in differences(recipe, changed)] == list(change)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stages: 3", "stages: expected a list, got 3"),
        ("ephocs: 3", "unknown field"),
        ("data: {imbalanse_factor: 10}", "did you mean 'imbalance_factor'"),
        ("stages: [{optim: {lr: fast}}]", "stages[0].optim.lr: expected a number, got 'fast'"),
        ("precision: bf61", "did you mean 'bf16'"),
        ("head: {_type: linaer}", "did you mean 'linear'"),
        ("head: 3", "expected a component with a `_type`"),
        ("seed: true", "expected a whole number, got True"),
        ("seed: 1.5", "expected a whole number, got 1.5"),
        ("stages: []", "at least one stage"),
        ("data: {flip: 2}", "flip must be from 0 to 1, got 2.0"),
        ("a: [", "not valid YAML"),
        ("- 1", "expected named fields, got list"),
        ("data: {mean: [1, 2]}", "expected a list of 3"),
    ],
)
def test_a_bad_recipe_file_names_field_value_and_choice(text: str, message: str) -> None:
    with pytest.raises(SpecError) as error:
        from_yaml(Recipe, text, "r.yaml: ")
    assert message in str(error.value)
    assert "r.yaml" in str(error.value)


def test_numbers_without_a_point_are_numbers() -> None:
    recipe = from_yaml(Recipe, "stages: [{optim: {lr: 1e-3}}]", "x")
    assert recipe.stages[0].optim is not None
    assert recipe.stages[0].optim.lr == 1e-3


def test_components_may_be_written_as_calls() -> None:
    recipe = from_yaml(Recipe, "stages: [{optim: {}, streams: {main: {sampler: class-balanced}}}]", "x")
    assert recipe.stages[0].streams["main"].sampler == Power(q=0.0)


def test_parse_call_reads_literals_and_evaluates_nothing() -> None:
    assert parse_call("power(q=0.5, within='cycle')") == ("power", {"q": 0.5, "within": "cycle"})
    assert parse_call("balanced-softmax") == ("balanced_softmax", {})
    assert parse_call("resnet18.a1_in1k") == ("resnet18.a1_in1k", {})
    for bad in ("power(q=__import__('os'))", "a/b", "power(1)", "power(**x)", "f(a=1)(b=2)", "1+1", ""):
        with pytest.raises(SpecError):
            parse_call(bad)
