"""The command line as a user meets it, in one process."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from tailwise.cli import COMMANDS, main
from tailwise.engine.recipe import Recipe
from tailwise.engine.run_folder import read_recipe
from tests.helpers import metrics_of, same_weights, weights_of

SMALL = ["--data", "synthetic", "--epochs", "1", "--with", "backbone=resnet20(width=0.25)", "--device", "cpu"]


@pytest.fixture(autouse=True)
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")


def test_train_compare_evaluate_report_and_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "ce", "balanced-softmax", "--seeds", "2", *SMALL]) == 0
    first = capsys.readouterr().out
    assert "balanced-softmax" in first
    assert "top-1" in first
    page = re.search(r"page: (\S+\.html)", first)
    assert page is not None
    assert (tmp_path / page[1]).is_file()
    runs = sorted(Path("runs/synthetic").glob("*/seed*"))
    assert len(runs) == 4
    for run in runs:
        held = {path.name for path in run.iterdir()}
        assert {"recipe.yaml", "metrics.jsonl", "result.json", "model.safetensors", "report.html", "index.json"} <= held
    stamps = {run: (run / "result.json").stat().st_mtime_ns for run in runs}

    assert main(["compare", "ce", "balanced-softmax", "square-root-sampling", "--seeds", "2", *SMALL]) == 0
    assert {run: (run / "result.json").stat().st_mtime_ns for run in runs} == stamps, "trained again"
    assert len(list(Path("runs/synthetic").glob("*/seed*"))) == 6
    capsys.readouterr()

    assert main(["evaluate", str(runs[0])]) == 0
    measured = json.loads((runs[0] / "evaluation-synthetic.json").read_text())
    result = json.loads((runs[0] / "result.json").read_text())
    assert measured["top1"] == result["last"]["top1"]
    assert measured["confusion"] == result["confusion"]
    assert measured["nll"] == pytest.approx(result["last"]["nll"], rel=1e-5)

    assert main(["report", "runs", "--format", "csv"]) == 0
    assert capsys.readouterr().out.count("\n") >= 4
    assert main(["report", str(runs[0]), "--out", "one.html"]) == 0
    assert Path("one.html").read_text().startswith("<!DOCTYPE html>")


def test_a_run_s_recipe_file_gives_the_same_run_again(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "ce", *SMALL, "--seed", "3", "--out", "one"]) == 0
    assert main(["train", "one/recipe.yaml", "--out", "two"]) == 0
    assert same_weights(weights_of(Path("one")), weights_of(Path("two")))
    assert metrics_of(Path("one")) == metrics_of(Path("two"))
    assert "one/report.html" in capsys.readouterr().out


def test_options_with_underscores_give_the_same_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    shown = []
    for option in ("--image-size", "--image_size"):
        assert main(["show", "ce", "--data", "cifar10", option, "48"]) == 0
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1]


@pytest.mark.parametrize("change", ["sampler=power(q=0)", "sampler=power(q=0.0)"])
def test_a_run_with_whole_numbers_is_recognised_again(change: str, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        assert main(["train", "ce", *SMALL[:-2], change, "--device", "cpu", "--out", "run"]) == 0
    assert "nothing to train" in capsys.readouterr().out


def test_a_page_that_is_missing_is_drawn_again() -> None:
    assert main(["train", "ce", *SMALL, "--out", "run"]) == 0
    Path("run/report.html").unlink()
    assert main(["train", "ce", *SMALL, "--out", "run"]) == 0
    assert Path("run/report.html").is_file()


def test_lists_train_and_a_single_list_is_evaluated(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    lines = []
    for number in range(24):
        Image.fromarray(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(tmp_path / f"images/{number}.png")
        lines.append(f"{number}.png {'ab'[number % 2]}")
    (tmp_path / "mine.txt").write_text("\n".join(lines[:16]))
    (tmp_path / "held.txt").write_text("\n".join(lines[16:]))
    where = ["--data", "mine.txt", "--root", "images", "--eval-list", "held.txt"]
    rest = ["--epochs", "1", "--device", "cpu", "--with", "backbone=resnet20(width=0.25)"]
    assert main(["train", "ce", *where, *rest, "--stages.0.streams.main.batch", "8", "--out", "run"]) == 0
    result = json.loads(Path("run/result.json").read_text())
    assert np.sum(result["confusion"]) == 8
    assert main(["evaluate", "run", "--data", "held.txt", "--root", "images"]) == 0
    assert json.loads(Path("run/evaluation-held.txt.json").read_text())["confusion"] == result["confusion"]
    assert main(["evaluate", "run"]) == 0
    assert main(["train", "run/recipe.yaml", "--data", "synthetic", "--out", "other"]) == 0


def test_a_saved_subset_given_back_trains_the_same_run() -> None:
    rest = ["--data", "digits", "--epochs", "1", "--device", "cpu", "--with", "backbone=resnet20(width=0.25)"]
    assert main(["train", "ce", *rest, "--imbalance", "30", "--out", "one"]) == 0
    assert main(["train", "ce", *rest, "--subset", "one/index.json", "--out", "two"]) == 0
    first, second = (json.loads(Path(name, "result.json").read_text()) for name in ("one", "two"))
    assert first["class_counts"] == second["class_counts"] == [124, 84, 58, 39, 27, 18, 12, 8, 6, 4]
    assert same_weights(weights_of(Path("one")), weights_of(Path("two")))


def test_train_without_a_recipe_resumes_the_one_in_the_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "balanced-softmax", *SMALL, "--out", "run"]) == 0
    capsys.readouterr()
    assert main(["train", "--resume", "--out", "run"]) == 0
    assert "nothing to train" in capsys.readouterr().out


def test_show_prints_what_train_takes(capsys: pytest.CaptureFixture[str]) -> None:
    options = [
        "--data",
        "cifar100",
        "--epochs",
        "40",
        "--imbalance",
        "50",
        "--stages.0.optim.lr",
        "0.05",
        "--seed",
        "7",
    ]
    more = ["--stages.0.objective.0.loss.smoothing", "0.1", "--stages.0.streams.main.sampler.q", "0.5"]
    assert main(["show", "ce", *options, *more]) == 0
    text = capsys.readouterr().out
    Path("shown.yaml").write_text(text)
    recipe = read_recipe(Path("shown.yaml"))
    assert isinstance(recipe, Recipe)
    plain = yaml.safe_load(text)
    assert plain["data"]["imbalance_factor"] == 50
    assert plain["stages"][0]["optim"]["lr"] == 0.05
    assert plain["stages"][0]["optim"]["schedule"]["milestones"] == [32, 36]
    assert plain["stages"][0]["objective"][0]["loss"]["smoothing"] == 0.1
    assert plain["stages"][0]["streams"]["main"]["sampler"]["q"] == 0.5
    assert plain["seed"] == 7
    assert f"# tailwise recipe {recipe.hash}" in text
    assert main(["show", "shown.yaml"]) == 0
    assert capsys.readouterr().out == text


@pytest.mark.parametrize(
    ("change", "path", "value"),
    [
        ("loss=balanced_softmax", ("stages", 0, "objective", 0, "loss", "_type"), "balanced_softmax"),
        ("sampler=square-root", ("stages", 0, "streams", "main", "sampler", "q"), 0.5),
        ("head=cosine(scale=16)", ("head", "scale"), 16),
        ("backbone=resnet44(width=2.0)", ("backbone", "name"), "resnet44"),
    ],
)
def test_with_replaces_components(
    change: str, path: tuple[str | int, ...], value: object, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", "--with", change]) == 0
    at = yaml.safe_load(capsys.readouterr().out)
    for step in path:
        at = at[step]
    assert at == value


@pytest.mark.parametrize("kind", ["losses", "samplers", "heads", "backbones", "recipes", "datasets"])
def test_list_names_everything(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    expected = {
        "losses": {"cross_entropy", "balanced_softmax"},
        "samplers": {"power"},
        "heads": {"linear", "cosine"},
        "backbones": {"resnet20", "resnet32", "resnet44", "resnet10"},
        "recipes": {"ce", "balanced-softmax", "class-balanced-sampling"},
        "datasets": {"digits", "cifar10", "cifar100", "folder", "list"},
    }
    assert main(["list", kind, "--json"]) == 0
    names = {row["name"] for row in json.loads(capsys.readouterr().out)[kind]}
    assert expected[kind] <= names
    assert main(["list", kind]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in names)


def test_a_data_card_prints_json_and_draws(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "card", "digits", "--imbalance", "50", "--json"]) == 0
    card = json.loads(capsys.readouterr().out)
    assert card["imbalance_factor"] == 62
    assert card["num_classes"] == 10
    assert Path("digits-card.png").read_bytes()[:4] == b"\x89PNG"
    assert main(["data", "card", "digits", "--no-check"]) == 0
    assert "imbalance" in capsys.readouterr().out


@pytest.mark.parametrize("command", list(COMMANDS))
def test_help_is_readable(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert "usage: tailwise" in text
    assert len(text) > 300


def test_the_overview_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    text = capsys.readouterr().out
    assert all(f"tailwise {command}" in text for command in COMMANDS)
    assert main(["--version"]) == 0
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*\n", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "did you mean 'train'"),
        (["train", "balanced-sofmax"], "did you mean 'balanced-softmax'"),
        (["train", "missing.yaml"], "cannot read the recipe file missing.yaml"),
        (["train", "ce", "balanced-softmax"], "tailwise compare ce balanced-softmax"),
        (["train", "--data", "no/such/folder"], "no such folder"),
        (["train", "--data", "digitss"], "digits"),
        (["train", "--data", "synthetic", "--imbalance", "0.5"], "below 1"),
        (["train", "--data", "digits", "--imbalance", "400"], "largest possible factor is"),
        (["train", "--with", "loss=ldamm"], "unknown loss 'ldamm'"),
        (["train", "--with", "sampler=powr"], "did you mean 'power'"),
        (["train", "--with", "sampler=power(p=1)"], "p: unknown field; Power has q, within"),
        (["train", "--with", "backbone=resnet33"], "did you mean 'resnet32'"),
        (["train", "--with", "lose=ldam"], "did you mean 'loss'"),
        (["train", "--with", "loss"], "write slot=component"),
        (["train", "--with", "backbone=resnet20(width='a')"], "width: expected a number, got 'a'"),
        (["train", "--backbone.width", "inf"], "width must be above 0 and at most 64"),
        (["train", "--epochs", "0"], "--epochs must be at least 1, got 0"),
        (["train", "--epochs", "-3"], "--epochs must be at least 1, got -3"),
        (["train", "--stages.0.objective.0.stream", "aux"], "an objective reads stream 'aux'"),
        (["train", "--stages.0.objective.0.head", "aux", "--device", "cpu"], "unknown head output 'aux'"),
        (["train", "--seed", "-1"], "seed must be at least 0, got -1"),
        (["train", "--evaluate.shots", "kangg"], "shots must be one of"),
        (["compare"], "compare needs recipes"),
        (["compare", "ce", "--seeds", "0"], "--seeds must be at least 1"),
        (["evaluate", "nowhere"], "nowhere"),
        (["report", "nowhere"], "no such folder: nowhere"),
        (["data", "cart"], "did you mean 'card'"),
        (["list", "losess"], "did you mean 'losses'"),
        (["train", "--epochs", "1", "--data", "synthetic", "--out", "file/run"], "cannot write to file/run"),
    ],
)
def test_a_mistake_is_one_clear_line_and_status_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("file").write_text("x")
    try:
        status = main(arguments)
    except SystemExit as stop:  # the option parser prints its own box
        status = stop.code
    captured = capsys.readouterr()
    assert status == 2
    assert message in " ".join((captured.err + captured.out).replace("│", " ").split())
    assert "Traceback" not in captured.err
    assert not Path("runs").exists()


def test_an_unknown_option_offers_near_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["train", "--stages.0.optm.lr", "1"])
    assert stop.value.code == 2
    assert "--stages.0.optim.lr" in capsys.readouterr().err


def test_tensorboard_files_are_written_when_asked_for() -> None:
    pytest.importorskip("tensorboard")
    assert main(["train", "ce", *SMALL, "--out", "run", "--tensorboard"]) == 0
    assert list(Path("run/tensorboard").glob("events*"))


def test_a_failing_recipe_does_not_stop_a_comparison(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "ce", *SMALL, "--stages.0.optim.lr", "1e30", "--name", "exploding"]) == 0
    Path("bad.yaml").write_text(capsys.readouterr().out)
    assert main(["compare", "ce", "bad.yaml", "--seeds", "1", *SMALL[:-4]]) == 1
    text = " ".join(capsys.readouterr().out.split())
    assert "not finished: exploding seed 0" in text
    assert main(["compare", "bad.yaml", "ce", "--seeds", "1", *SMALL[:-4]]) == 1
    assert "exploding did not finish; differences are to ce" in " ".join(capsys.readouterr().out.split())
    assert "page: runs/synthetic/compare-" in text
