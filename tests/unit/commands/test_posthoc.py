"""Changes of the classifier on the command line: trained with a run, scanned after it, and mistakes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tailwise.cli import main
from tests.helpers import weights_of

SMALL = ["--data", "synthetic", "--epochs", "2", "--device", "cpu"]
PARTS = ["--with", "backbone=resnet20(width=0.25)"]


@pytest.fixture(autouse=True)
def _inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("tailwise.engine.result.draw", lambda folder: None)


def test_a_finished_run_is_scanned_and_agrees_with_what_it_measured(capsys: pytest.CaptureFixture[str]) -> None:
    changes = ["posthoc=tau_norm(tau=0.5)", "posthoc=ncm_official"]
    assert main(["train", "ce", *SMALL, *PARTS, *changes, "--out", "run"]) == 0
    assert "ce + tau_norm(tau=0.5)" in capsys.readouterr().out
    scan = ["tau_norm(tau=0.5)", "tau_norm(tau=1)", "tau_norm(tau=0, bias='keep')", "ncm-official", "logit_adjustment"]
    before = {path: path.read_bytes() for path in Path("run").iterdir() if path.is_file()}
    assert main(["evaluate", "run", "--device", "cpu", "--posthoc", *scan]) == 0
    printed = capsys.readouterr().out
    found = json.loads(Path("run/evaluation-synthetic.json").read_text())
    result = json.loads(Path("run/result.json").read_text())
    labels = [*scan[:3], "ncm_official", "logit_adjustment(tau=1)"]
    assert list(found["posthoc"]) == labels
    assert all(label in printed for label in ["as trained", *labels])
    for label in ("tau_norm(tau=0.5)", "ncm_official"):
        assert found["posthoc"][label]["confusion"] == result["posthoc"][label]["confusion"]
        assert found["posthoc"][label]["nll"] == pytest.approx(result["posthoc"][label]["last"]["nll"], rel=1e-5)
    assert found["posthoc"]["tau_norm(tau=0, bias='keep')"]["confusion"] == found["confusion"] == result["confusion"]
    assert {path: path.read_bytes() for path in before} == before, "the run was changed"
    assert main(["evaluate", "run", "--device", "cpu", "--out", "plain.json"]) == 0
    assert json.loads(Path("plain.json").read_text())["posthoc"] == {}
    assert "as trained" not in capsys.readouterr().out
    assert "head.fc.weight" in weights_of(Path("run"))


def test_a_comparison_has_a_row_for_every_change() -> None:
    assert main(["compare", "ce", "tau-norm", "--seeds", "1", *SMALL, *PARTS, "--out", "all"]) == 0
    (table,) = Path("all/synthetic").glob("compare-*.md")
    rows = [line.split("|")[1].strip() for line in table.read_text().splitlines() if line.startswith("|")]
    assert rows == ["recipe", "---", "ce", "tau-norm", "tau-norm + tau_norm(tau=1)"]


def test_a_change_given_twice_counts_once_and_its_fields_are_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "ncm", "--with", "posthoc=ncm", "posthoc=tau_norm", "--evaluate.posthoc.1.tau", "0.3"]) == 0
    text = capsys.readouterr().out
    assert text.count("_type: ncm") == 1
    assert "tau: 0.3" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["train", "--with", "posthoc=tau_nrm"],
            "unknown change of the classifier 'tau_nrm'; did you mean 'tau_norm'?",
        ),
        (["train", "--with", "posthoc=tau_norm(tau='a')"], "tau: expected a number, got 'a'"),
        (["train", "--with", "posthoc=tau_norm(tau=1e999)"], "tau must be a finite number, got inf"),
        (["train", "--with", "posthoc=ncm(features='l2')"], "'l2' is not allowed; one of raw, normalized, centered"),
        (
            ["train", "tau-norm", "--with", "head=cosine", *SMALL],
            "tau_norm rescales a linear classifier, and CosineModule has none; a head with one is linear or lws "
            "(--with head=linear)",
        ),
        (["train", "lws", "--with", "head=linear", *SMALL], r"trainable='head\\.scale' fits no parameter"),
        (
            ["train", "crt", "--data", "synthetic", "--epochs", "1"],
            "--epochs 1 is less than the recipe's 2 stages need",
        ),
        (["train", *SMALL, "--stages.0.start-from", "no/such"], "stage 0 starts from no/such, which is no file"),
        (["evaluate", "nowhere", "--posthoc", "ncmm"], "unknown change of the classifier 'ncmm'; did you mean 'ncm'?"),
        (
            ["evaluate", "nowhere", "--posthoc", "tau_norm("],
            "cannot read 'tau_norm('; write name or name(argument=value",
        ),
    ],
)
def test_a_mistake_is_one_clear_line_and_status_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert message in " ".join((captured.err + captured.out).split())
    assert "Traceback" not in captured.err
    assert not Path("runs").exists()


def test_a_run_with_a_cosine_head_cannot_be_scanned_with_tau(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "ce", *SMALL, *PARTS, "head=cosine", "--out", "run"]) == 0
    assert main(["evaluate", "run", "--device", "cpu", "--posthoc", "ncm", "tau_norm"]) == 2
    assert "CosineModule has none" in capsys.readouterr().err
    assert not Path("run/evaluation-synthetic.json").exists()
    assert main(["evaluate", "run", "--device", "cpu", "--posthoc", "ncm"]) == 0
