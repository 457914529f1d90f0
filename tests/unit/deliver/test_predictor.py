"""Predictions see images as the evaluation does, in constant memory, and say what they cannot read."""

from __future__ import annotations

import csv
import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import tailwise
from tailwise import cli
from tailwise.calibration import softmax
from tailwise.commands.calibrate import CalibrateOptions
from tailwise.core.errors import DataError, TailwiseError
from tailwise.deliver import images as deliver_images
from tailwise.deliver.calibration import RunCalibration, fit_calibration
from tailwise.deliver.images import find_images
from tailwise.deliver.logits_prior import logits_prior
from tailwise.engine.prepare import open_splits
from tailwise.engine.sources import make_evaluation_split
from tailwise.evaluation.logits import collect_logits
from tests.helpers import tiny_recipe
from tests.unit.calibration.cases import draw

Pair = tuple[Path, Path]


@pytest.fixture
def own(run_and_images: Pair, tmp_path: Path) -> Path:
    """A copy of the run that a test may change."""
    return Path(shutil.copytree(run_and_images[0], tmp_path / "run"))


def of_evaluation(run: Path) -> tuple[Any, Any, list[Path]]:
    """Logits and labels as the evaluation computes them, and the images."""
    predictor = tailwise.load(run, "cpu")
    pool = open_splits(predictor.recipe.data).test
    split = make_evaluation_split(predictor.recipe, pool, None, np.arange(len(pool)), predictor.runtime)
    paths = [path for path in map(pool.path_of, range(len(pool))) if path is not None]
    return *collect_logits(predictor.network, split, predictor.runtime), paths


def test_logits_are_those_of_the_evaluation(run_and_images: Pair) -> None:
    logits, labels, paths = of_evaluation(run_and_images[0])
    found = tailwise.load(run_and_images[0], "cpu").predict(paths)
    np.testing.assert_allclose([item.logits for item in found], logits, rtol=1e-5, atol=1e-6)
    stored = json.loads((run_and_images[0] / "result.json").read_text())["last"]["top1"]
    hits = np.mean([item.label == label for item, label in zip(found, labels, strict=True)])
    assert 100 * hits == pytest.approx(stored)


def test_paths_pillow_images_and_arrays_give_the_same(run_and_images: Pair) -> None:
    predictor = tailwise.load(run_and_images[0], "cpu")
    path = run_and_images[1] / "test" / "bee" / "00.png"
    image = Image.open(path)
    found = predictor.predict([path, str(path), image, np.asarray(image), image.convert("L").convert("RGB")])
    for other in found[1:4]:
        np.testing.assert_allclose(other.logits, found[0].logits, rtol=1e-5, atol=1e-6)
    assert not np.allclose(found[4].logits, found[0].logits, atol=1e-4)
    assert [item.name for item in found[1:4]] == [str(path), "#2", "#3"]
    (name, probability), *rest = predictor.predict(image)[0].top(2)
    assert (name, len(rest)) == (found[0].top(1)[0][0], 1)
    assert probability == pytest.approx(found[0].top(1)[0][1], rel=1e-5)


def test_a_batch_of_one_and_of_many_agree(run_and_images: Pair) -> None:
    predictor = tailwise.load(run_and_images[0], "cpu")
    paths = find_images([run_and_images[1] / "test"])
    one, many = (list(predictor.stream(paths, batch=size)) for size in (1, 100))
    np.testing.assert_allclose([i.logits for i in one], [i.logits for i in many], rtol=1e-4, atol=1e-5)


def test_decoding_stays_a_bounded_number_of_images_ahead(run_and_images: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor, read = tailwise.load(run_and_images[0], "cpu"), []
    plain = deliver_images.load_rgb

    def counted(*args: Any, **named: Any) -> Image.Image:
        read.append(1)
        return plain(*args, **named)

    monkeypatch.setattr(deliver_images, "load_rgb", counted)
    stream = predictor.stream(find_images([run_and_images[1] / "test"]) * 20, batch=4)
    for number in range(1, 41):
        next(stream)
        assert len(read) <= number + 4 + 8 + 1
    stream.close()  # type: ignore[attr-defined]


def test_unreadable_images_are_listed_and_not_fatal(
    run_and_images: Pair, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    at = tmp_path / "a folder é"
    shutil.copytree(run_and_images[1] / "test" / "ape", at / "deep")
    (at / "broken.jpg").write_bytes((at / "deep" / "01.jpg").read_bytes()[:150])
    (at / "empty.png").write_bytes(b"")
    (at / "loop").symlink_to(at, target_is_directory=True)
    assert cli.main(["predict", str(run_and_images[0]), str(at), "--csv", str(tmp_path / "out.csv"), "--top", "2"]) == 0
    rows = list(csv.DictReader((tmp_path / "out.csv").open(encoding="utf-8")))
    assert [Path(row["image"]).name for row in rows] == [
        "broken.jpg",
        *sorted(f.name for f in (at / "deep").iterdir()),
        "empty.png",
    ]
    assert rows[0]["class1"] == ""
    assert "an empty file" in rows[-1]["error"]
    assert float(rows[1]["probability1"]) >= float(rows[1]["probability2"])
    assert rows[1]["class1"] in ("ape", "bee", "cat")
    errors = capsys.readouterr().err
    assert "2 of 7 images cannot be read" in errors
    assert "no prediction sets and no abstention: the run has no calibration" in errors
    assert sorted(item.name for item in tmp_path.iterdir()) == ["a folder é", "out.csv"]


def test_images_that_are_all_unreadable_are_an_error(
    run_and_images: Pair, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.png").write_text("no")
    assert cli.main(["predict", str(run_and_images[0]), str(tmp_path / "x.png")]) == 2
    assert "none of the images can be read" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.png"], "no such image or folder: nowhere.png"),
        (["empty"], "no images in the folder empty; known extensions: .jpg"),
        (["x.png", "--top", "0"], "--top must be at least 1, got 0"),
        (["x.png", "--prior", "unifrom"], "'unifrom': neither uniform, train nor a file; did you mean 'uniform'?"),
        (["x.png", "--prior", "bad.txt"], "bad.txt: not a prior (a number for each class): could not convert"),
        (["x.png", "--prior", "short.txt"], "short.txt: prior must have one share for each of 3 classes, got"),
        (["x.png", "--prior", "names.json"], "are not those of the run; in one of them only: bee, cat, dog"),
    ],
)  # fmt: skip
def test_mistakes_are_one_clear_message(
    run_and_images: Pair,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Image.new("RGB", (9, 9)).save("x.png")
    Path("bad.txt").write_text("a b")
    Path("short.txt").write_text("1\n2\n")
    Path("names.json").write_text('{"ape": 1, "dog": 2}')
    assert cli.main(["predict", str(run_and_images[0]), *arguments]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_an_array_of_another_kind_is_told(run_and_images: Pair) -> None:
    predictor = tailwise.load(run_and_images[0], "cpu")
    with pytest.raises(
        DataError, match=r"image #0: an array must be uint8 \[H, W\] or \[H, W, 3\], got float64 \[4, 4\]"
    ):
        predictor.predict(np.zeros((4, 4)))
    with pytest.raises(DataError, match="expected a path, a Pillow image or a uint8 array, got int"):
        predictor.predict([3])  # type: ignore[list-item]
    with pytest.raises(DataError, match="expected images or an image, got int"):
        predictor.predict(3)  # type: ignore[arg-type]


def test_a_stated_prior_moves_probabilities_by_bayes_rule(run_and_images: Pair, tmp_path: Path) -> None:
    predictor = tailwise.load(run_and_images[0], "cpu")
    path = run_and_images[1] / "test" / "bee" / "00.png"
    (plain,), (uniform,), (train,) = (predictor.predict(path, prior=prior) for prior in (None, "uniform", "train"))
    np.testing.assert_allclose(train.probabilities, plain.probabilities, rtol=1e-9)
    moved = plain.probabilities / np.array([16, 8, 4])
    np.testing.assert_allclose(uniform.probabilities, moved / moved.sum(), rtol=1e-9)
    (tmp_path / "p.json").write_text('{"cat": 2, "ape": 1, "bee": 1}')
    (named,) = predictor.predict(path, prior=str(tmp_path / "p.json"))
    (listed,) = predictor.predict(path, prior=[1, 1, 2])
    np.testing.assert_allclose(named.probabilities, listed.probabilities)


@pytest.mark.parametrize(
    ("recipe", "changes", "power"),
    [("ce", (), 1.0), ("balanced-softmax", (), 0.0), ("ce", ("loss=logit_adjustment(tau=0.5)",), 0.5),
     ("ce", ("sampler=square_root",), 0.5), ("balanced-softmax", ("sampler=power(q=0)",), -1.0)],
)  # fmt: skip
def test_the_prior_of_the_logits_follows_from_loss_and_sampler(
    recipe: str, changes: tuple[str, ...], power: float
) -> None:
    stats = tailwise.ClassStats([100, 10, 1])
    expected = np.array([100.0, 10.0, 1.0]) ** power
    found = logits_prior(tiny_recipe(recipe, changes=changes), stats)
    np.testing.assert_allclose(found, expected / expected.sum(), rtol=1e-9)


def test_a_loss_that_tells_no_prior_is_named() -> None:
    with pytest.raises(TailwiseError, match=r"does not follow from the loss 'ldam'.*--logits-prior train or"):
        logits_prior(tiny_recipe(changes=("head=cosine", "loss=ldam")), tailwise.ClassStats([100, 10, 1]))
    with pytest.raises(TailwiseError, match="does not follow from the last stage of its recipe"):
        logits_prior(tiny_recipe(changes=("mix=remix",)), tailwise.ClassStats([100, 10, 1]))


def test_calibrate_then_predict_gives_sets_and_abstention(own: Path, run_and_images: Pair, capsys: Any) -> None:
    logits, labels, _ = of_evaluation(own)
    assert cli.main(["calibrate", str(own), "--miscoverage", "0.2", "--most-risk", "0.3"]) == 0
    assert "calibration.json" in capsys.readouterr().out
    expected = fit_calibration(
        logits, labels, [16, 8, 4], recipe_hash="", source="", miscoverage=0.2, most_risk=0.3
    )  # fmt: skip
    predictor = tailwise.load(own, "cpu")
    assert predictor.calibration is not None
    assert predictor.calibration.images == 24
    assert predictor.calibration.temperature.temperature == pytest.approx(expected.temperature.temperature, rel=1e-3)
    assert predictor.calibration.sets.thresholds == pytest.approx(expected.sets.thresholds, rel=1e-3)
    for prediction in predictor.predict(run_and_images[1] / "test"):
        p = softmax(prediction.logits[None] / predictor.calibration.temperature.temperature)[0]
        np.testing.assert_allclose(prediction.probabilities, p, rtol=1e-6)
        inside = {label for label in range(3) if -p[label] <= predictor.calibration.sets.thresholds[label]}
        assert set(prediction.prediction_set or ()) == inside
        assert prediction.abstains == (p.max() < predictor.calibration.answer_from)
    assert cli.main(["predict", str(own), str(run_and_images[1] / "test" / "ape" / "00.png")]) == 0
    assert "| set {" in capsys.readouterr().out


def test_a_run_that_was_measured_on_its_test_split_is_not_calibrated_on_it(
    run_and_images: Pair, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(run_and_images[0], tmp_path / "run"))
    recipe = (run / "recipe.yaml").read_text()
    (run / "recipe.yaml").write_text(recipe.replace("eval_split: val", "eval_split: test"))
    assert cli.main(["calibrate", str(run)]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "holds no images to calibrate on (it was measured on its test split" in said
    assert "--data FOLDER or --data LIST" in said
    assert not (run / "calibration.json").exists()
    assert cli.main(["calibrate", str(run), "--data", str(run_and_images[1])]) == 0
    assert CalibrateOptions(run).eval_split == "val"


def test_a_calibration_is_read_back_as_it_was_and_refused_when_damaged(own: Path) -> None:
    logits, labels = draw(60)
    kept = fit_calibration(logits, labels, [6, 3, 1, 1], recipe_hash="abc", source="made up",
                           method="class_conditional", most_risk=0.0)  # fmt: skip
    file = kept.save(own)
    back = RunCalibration.load(own, "abc", 4)
    assert back is not None
    assert (back.sets.thresholds == kept.sets.thresholds).all()
    assert math.isinf(back.sets.thresholds[3])
    assert (back.temperature, back.answer_from, back.measures) == (kept.temperature, kept.answer_from, kept.measures)
    with pytest.raises(DataError, match=r"of another run \(recipe abc, this is def\).*tailwise calibrate"):
        RunCalibration.load(own, "def", 4)
    file.write_text(file.read_text()[:100])
    with pytest.raises(DataError, match=r"calibration\.json: damaged \(.*tailwise calibrate"):
        RunCalibration.load(own, "abc", 4)
    file.write_text('{"format": 9}')
    with pytest.raises(DataError, match="format 9 is not known"):
        RunCalibration.load(own, "abc", 4)


def test_the_temperature_and_the_sets_come_from_different_halves() -> None:
    logits, labels = draw(400, sharpness=2.0)
    found = fit_calibration(logits, labels, [6, 3, 1, 1], recipe_hash="", source="")
    other = logits.copy()
    rows = np.flatnonzero(labels == 0)[1::2]  # images of the second half
    other[rows, 0] += 3.0
    again = fit_calibration(other, labels, [6, 3, 1, 1], recipe_hash="", source="")
    assert again.temperature == found.temperature
    assert (again.sets.thresholds != found.sets.thresholds).any()


def test_too_few_held_out_images_and_a_risk_out_of_range_are_told() -> None:
    logits, labels = draw(3)
    with pytest.raises(DataError, match="3 held-out images are too few"):
        fit_calibration(logits, labels, [6, 3, 1, 1], recipe_hash="", source="")
    with pytest.raises(ValueError, match="most_risk must be from 0 to 1, got 2"):
        fit_calibration(logits, labels, [6, 3, 1, 1], recipe_hash="", source="", most_risk=2)
