"""Runs with residual branches: each branch measured at every evaluation, stacked, resumed, folded, and drawn."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tailwise.cli import main
from tailwise.core.errors import DataError, TailwiseError, UnknownName
from tailwise.core.groups import Groups
from tailwise.engine.load import load_network
from tailwise.engine.prepare import prepare
from tailwise.engine.recipe import Recipe
from tailwise.engine.train import train, train_many
from tailwise.evaluation.metrics import group_records
from tailwise.heads import ResLT as Head
from tailwise.objectives import ResLT
from tailwise.posthoc import TauNorm
from tailwise.recipes.base import replace_stage
from tests.helpers import metrics_of, result_of, same_weights, tiny_recipe, weights_of

NAMES = ("branch0", "branch1", "branch2")


def recipe_with(name: str = "reslt", *, epochs: int = 4, **fields: Any) -> Recipe:
    recipe = tiny_recipe(name, epochs=epochs)
    data = dataclasses.replace(recipe.data, imbalance_factor=10.0)
    evaluate = dataclasses.replace(recipe.evaluate, every=2, last=1)
    return dataclasses.replace(recipe, **{"data": data, "evaluate": evaluate, **fields})


@pytest.fixture(autouse=True)
def _no_page(monkeypatch: pytest.MonkeyPatch, run: Path) -> None:
    """Pages take most of the time of so short a run; only the shared run draws one."""
    monkeypatch.setattr("tailwise.engine.result.draw", lambda folder: None)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(recipe_with(), tmp_path_factory.mktemp("reslt") / "run")


def logits_by_hand(folder: Path) -> tuple[dict[str, Any], Any, Any]:
    """Logits by name of the evaluation images, their labels, and the class counts."""
    recipe, network, _ = load_network(folder)
    prepared = prepare(recipe.data, torch.device("cpu"), lambda line: None)
    assert prepared.eval_images is not None
    with torch.no_grad():
        maps = network.maps(network.pixel(torch.from_numpy(prepared.eval_images)))
        named = {name: value.numpy() for name, value in network.head(maps).items()}
    return named, prepared.splits.test.labels[prepared.eval_positions], prepared.index.counts


def test_every_branch_is_measured_at_every_evaluation(run: Path) -> None:
    lines = [line for line in metrics_of(run) if line["event"] == "evaluation"]
    assert [line["epoch"] for line in lines] == [2, 4]
    assert all(tuple(line["branches"]) == NAMES for line in lines)
    last = result_of(run)["last"]
    assert last["branches"] == lines[-1]["branches"]
    named, labels, counts = logits_by_hand(run)
    for name in NAMES:
        hits = named[name].argmax(1) == labels
        per_class = [float(100 * hits[labels == c].mean()) for c in range(len(counts))]
        assert last["branches"][name]["top1"] == pytest.approx(100 * hits.mean())
        assert last["branches"][name]["groups"] == {
            group: pytest.approx(record["accuracy"])
            for group, record in group_records(per_class, counts, last["shots"]).items()
        }
    fused = np.sum([named[name] for name in NAMES], axis=0)
    assert last["top1"] == pytest.approx(100 * (fused.argmax(1) == labels).mean())


def test_a_head_without_branches_has_no_such_record(tmp_path: Path) -> None:
    folder = train(recipe_with("ce-reslt-settings", epochs=1), tmp_path / "run")
    assert "branches" not in result_of(folder)["last"]
    assert all("branches" not in line for line in metrics_of(folder))


def test_the_command_evaluate_measures_them_too(run: Path, tmp_path: Path) -> None:
    assert main(["evaluate", str(run), "--out", str(tmp_path / "measured.json")]) == 0
    measured = json.loads((tmp_path / "measured.json").read_text())
    assert measured["branches"] == result_of(run)["last"]["branches"]


def test_the_page_draws_the_branches(run: Path) -> None:
    page = (run / "report.html").read_text()
    assert "what each branch knows" in page
    assert "residual branch 2" in page


def test_changes_of_the_classifier_are_measured_beside_the_branches(tmp_path: Path) -> None:
    recipe = recipe_with()
    changed = dataclasses.replace(recipe, evaluate=dataclasses.replace(recipe.evaluate, posthoc=(TauNorm(tau=0.5),)))
    result, plain = result_of(train(changed, tmp_path / "a")), result_of(train(recipe, tmp_path / "b"))
    assert result["last"] == plain["last"]
    assert "branches" not in result["posthoc"]["tau_norm(tau=0.5)"]["last"]


def test_a_stack_of_runs_trains_what_each_trains_alone(tmp_path: Path) -> None:
    recipes = [dataclasses.replace(recipe_with(), seed=seed, precision="fp64") for seed in (0, 1)]
    together = [dataclasses.replace(one, run=dataclasses.replace(one.run, at_once=2)) for one in recipes]
    outcomes = train_many(together, [tmp_path / f"together{seed}" for seed in (0, 1)])
    for recipe, outcome in zip(recipes, outcomes, strict=True):
        alone = train(recipe, tmp_path / f"alone{recipe.seed}")
        mine, theirs = weights_of(outcome.folder), weights_of(alone)
        assert set(mine) == set(theirs)
        assert max(float((mine[name].double() - theirs[name].double()).abs().max()) for name in mine) < 1e-5
        assert [line.get("branches") for line in metrics_of(outcome.folder)] == [
            line.get("branches") for line in metrics_of(alone)
        ]


def test_the_folded_head_classifies_as_the_run_does(run: Path) -> None:
    recipe, network, _ = load_network(run)
    prepared = prepare(recipe.data, torch.device("cpu"), lambda line: None)
    assert prepared.eval_images is not None
    head: Any = network.head
    with torch.no_grad():
        maps = network.maps(network.pixel(torch.from_numpy(prepared.eval_images)))
        np.testing.assert_allclose(head.fold()(maps)["main"], head(maps)["main"], rtol=1e-5, atol=1e-5)


def test_the_same_seed_gives_the_same_run(tmp_path: Path, run: Path) -> None:
    assert same_weights(weights_of(train(recipe_with(), tmp_path / "run")), weights_of(run))


def test_branches_and_mixed_images_train_together(tmp_path: Path) -> None:
    recipe = tiny_recipe("reslt", epochs=1, changes=("mix=mixup",))
    recipe = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, imbalance_factor=10.0))
    assert result_of(train(recipe, tmp_path / "run"))["finished"]


def test_mistakes_are_told_before_the_training(tmp_path: Path) -> None:
    recipe = recipe_with(epochs=1)
    balanced = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, imbalance_factor=None))
    few = replace_stage(recipe, 0, objective=(ResLT(branches=2),))
    many = replace_stage(recipe, 0, objective=(ResLT(branches=4),))
    both = dataclasses.replace(replace_stage(recipe, 0, objective=(ResLT(branches=5),)), head=Head(branches=5))
    empty = replace_stage(recipe, 0, objective=(ResLT(groups=Groups(rule="counts")),))
    for wrong, kind, message in (
        (
            balanced,
            DataError,
            "all 4 classes have 40 training images, so groups by rank are undefined; give cut points",
        ),
        (both, DataError, "5 branches need at least 5 classes, the data have 4"),
        (empty, DataError, "groups by counts leave branch 0 without classes (classes in the groups: 0, 1, 3)"),
        (many, UnknownName, "unknown head output 'branch3'; did you mean 'branch2'?"),
        (
            few,
            TailwiseError,
            "the head has 3 branches and objective 'reslt' trains 2 of them; give both the same number",
        ),
    ):
        with pytest.raises(kind) as error:
            train(wrong, tmp_path / "run")
        assert str(error.value).startswith(message)
