"""``tailwise predict``"""

from __future__ import annotations

import csv
import dataclasses
import os
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console
from rich.progress import track

from tailwise.commands.options import checked
from tailwise.core.errors import DataError, TailwiseError
from tailwise.deliver.images import find_images
from tailwise.deliver.predictor import Prediction, Predictor
from tailwise.engine.checkpoint import write_error

#: Unreadable images that are named at the end; all of them stand in the CSV file.
NAMED = 20


@dataclasses.dataclass(frozen=True)
class PredictOptions:
    """What a finished run says about images: files, or folders and everything below them."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """The run's folder."""
    images: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="IMAGES")]
    """Image files and folders."""
    prior: Annotated[str | None, tyro.conf.arg(metavar="uniform|train|FILE")] = None
    """Class frequencies at the place of use; none: the probabilities as the network gives them."""
    logits_prior: Annotated[str | None, tyro.conf.arg(metavar="uniform|train|FILE")] = None
    """Class frequencies that the network's logits are of; none: by its recipe."""
    top: int = 5
    """Classes shown of each image."""
    csv: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Write a row for each image there instead of a line here."""
    batch: int = 64
    """Images a step."""
    workers: int = 2
    """Threads that decode."""
    device: Literal["auto", "cpu", "cuda"] = "auto"


def run(arguments: Sequence[str]) -> int:
    """Predicts, and prints or writes a line for each image."""
    options = checked(lambda: tyro.cli(PredictOptions, prog="tailwise predict", args=list(arguments)))
    for name in ("top", "batch", "workers"):
        if getattr(options, name) < 1:
            raise TailwiseError(f"--{name} must be at least 1, got {getattr(options, name)}")
    if not options.images:
        raise TailwiseError("no images were given; name files or folders after the run")
    predictor = Predictor(options.run, options.device)
    images = find_images(options.images)
    console, notes = Console(), Console(stderr=True)
    if predictor.calibration is None:
        text = f"no prediction sets and no abstention: the run has no calibration (tailwise calibrate {options.run})"
        notes.print(text, highlight=False, markup=False, soft_wrap=True)
    if predictor.recipe.data.pixels is not None:
        text = f"the run was measured on packed pixels ({predictor.recipe.data.pixels}); these images are decoded"
        notes.print(text, highlight=False, markup=False, soft_wrap=True)
    stream = predictor.stream(
        images, prior=options.prior, model_prior=options.logits_prior, batch=options.batch, workers=options.workers
    )
    if options.csv is None:
        bad = _print(stream, options.top, console)
    else:
        shown = track(stream, "predicting", total=len(images), console=notes, transient=True)
        bad = _write(shown, options.csv, options.top, predictor)
    if bad.number:
        listed = "\n  ".join(bad.first) + (f"\n  and {bad.number - NAMED} more" if bad.number > NAMED else "")
        notes.print(
            f"{bad.number} of {len(images)} images cannot be read:\n  {listed}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
    if bad.number == len(images):
        raise DataError("none of the images can be read")
    if options.csv is not None:
        console.print(f"predictions: {options.csv}", highlight=False, soft_wrap=True)
    return 0


class _Unreadable:
    """How many images could not be read, and the first of them with the reason."""

    def __init__(self) -> None:
        self.number = 0
        self.first: list[str] = []

    def add(self, prediction: Prediction) -> None:
        self.number += 1
        if len(self.first) < NAMED:
            self.first.append(f"{prediction.name}: {prediction.error}")


def _print(predictions: Iterable[Prediction], top: int, console: Console) -> _Unreadable:
    bad = _Unreadable()
    for prediction in predictions:
        if prediction.error is not None:
            bad.add(prediction)
            continue
        classes = ", ".join(f"{name} {100 * p:.1f} %" for name, p in prediction.top(top))
        text = f"{prediction.name}: {classes}"
        if prediction.prediction_set is not None:
            text += f" | set {{{', '.join(_names(prediction))}}}" + (" | abstains" if prediction.abstains else "")
        console.print(text, highlight=False, markup=False, soft_wrap=True)
    return bad


def _write(predictions: Iterable[Prediction], file: Path, top: int, predictor: Predictor) -> _Unreadable:
    bad, top = _Unreadable(), min(top, len(predictor.class_names))
    ranks = [f"{what}{rank}" for rank in range(1, top + 1) for what in ("class", "probability")]
    with _replaced(file) as to:
        writer = csv.writer(to)
        writer.writerow(["image", *ranks, "set", "abstains", "error"])
        for prediction in predictions:
            if prediction.error is not None:
                bad.add(prediction)
                writer.writerow([prediction.name, *[""] * len(ranks), "", "", prediction.error])
                continue
            classes = [value for name, p in prediction.top(top) for value in (name, f"{p:.6g}")]
            members = "" if prediction.prediction_set is None else "|".join(_names(prediction))
            abstains = "" if prediction.abstains is None else ("yes" if prediction.abstains else "no")
            writer.writerow([prediction.name, *classes, members, abstains, ""])
    return bad


def _names(prediction: Prediction) -> list[str]:
    return [prediction.class_names[label] for label in prediction.prediction_set or ()]


@contextmanager
def _replaced(file: Path) -> Generator[Any]:
    """A text file under another name, renamed when it is whole and removed when it is not."""
    partial = file.with_name(f".{file.name}.partial")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("w", newline="", encoding="utf-8") as to:
            yield to
        os.replace(partial, file)
    except OSError as error:
        raise write_error(error, file.parent) from error
    finally:
        partial.unlink(missing_ok=True)
