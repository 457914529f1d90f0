"""``tailwise calibrate``"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from tailwise.calibration.conformal import Method
from tailwise.commands.evaluate import images_to_measure
from tailwise.commands.options import checked
from tailwise.core.errors import TailwiseError
from tailwise.data.images import find_unreadable
from tailwise.deliver.calibration import RunCalibration, fit_calibration
from tailwise.deliver.predictor import Predictor
from tailwise.engine.sources import make_evaluation_split
from tailwise.evaluation.logits import collect_logits


@dataclasses.dataclass(frozen=True)
class CalibrateOptions:
    """Fit a temperature, prediction sets and a confidence to answer at on held-out images of a finished run."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """The run's folder."""
    data: Annotated[str | None, tyro.conf.arg(metavar="NAME|PATH")] = None
    """Held-out images: a data set or folder, whose evaluation split is used, or a list file. None: the run's own
    validation split."""
    root: Path | None = None
    """Where the files of a downloaded data set, or the images of a list, lie."""
    eval_split: Literal["auto", "val", "test"] = "val"
    """The split of a folder."""
    method: Method = "split"
    """Of the prediction sets: one threshold, one for each class, or scores divided by the class frequency."""
    miscoverage: float = 0.1
    """Share of prediction sets that may miss the true class."""
    most_risk: float = 0.05
    """Share of answers that may be wrong; below the confidence that keeps it, predictions abstain."""
    device: Literal["auto", "cpu", "cuda"] = "auto"


def run(arguments: Sequence[str]) -> int:
    """Calibrates, writes ``calibration.json`` and prints the measures."""
    options = checked(lambda: tyro.cli(CalibrateOptions, prog="tailwise calibrate", args=list(arguments)))
    predictor = Predictor(options.run, options.device)
    calibration = checked(lambda: calibrate(predictor, options))
    file = calibration.save(options.run)
    console = Console()
    console.print(_table(calibration))
    console.print(f"temperature {calibration.temperature.temperature:.4g}", highlight=False)
    if np.isinf(calibration.answer_from):
        text = f"no confidence keeps the risk at {calibration.most_risk:.4g}: every prediction abstains"
    else:
        text = f"answers from a probability of {calibration.answer_from:.4g} on"
    console.print(f"{text}\ncalibration: {file}", highlight=False, soft_wrap=True)
    return 0


def calibrate(predictor: Predictor, options: CalibrateOptions) -> RunCalibration:
    """The calibration of a run on the images that the options name; nothing is written.

    Raises:
        TailwiseError: The run has no validation split that the choice of its epoch left alone, and no other images
            were named.
        DataError: Something is wrong with the images.
    """
    recipe, result = predictor.recipe, predictor.result
    pool, packed = images_to_measure(options, recipe, predictor.class_names)
    if options.data is None and (pool.split != "val" or recipe.evaluate.select != "last"):
        what = (
            f"it was measured on its {pool.split} split"
            if pool.split != "val"
            else "its epoch was chosen on its validation split"
        )
        raise TailwiseError(
            f"{options.run} holds no images to calibrate on ({what}, and a calibration on images that are "
            "reported would be too good). Name held-out images of the same classes: --data FOLDER or --data LIST"
        )
    positions = np.arange(len(pool), dtype=np.int64)
    bad = packed.unreadable if packed else find_unreadable(pool, positions, max(1, recipe.data.workers))
    readable = positions[~np.isin(positions, list(bad))]
    split = make_evaluation_split(recipe, pool, packed, readable, predictor.runtime)
    logits, labels = collect_logits(predictor.network, split, predictor.runtime)
    source = f"{pool.source}, {pool.split} split" if options.data is None else Path(options.data).name
    return fit_calibration(
        logits,
        labels,
        predictor.stats.counts,
        recipe_hash=result.recipe_hash,
        source=source,
        method=options.method,
        miscoverage=options.miscoverage,
        most_risk=options.most_risk,
    )


def _table(calibration: RunCalibration) -> Table:
    table = Table(title=f"{calibration.images} held-out images ({calibration.source})", title_justify="left")
    table.add_column("class frequencies")
    table.add_column("probabilities")
    for name in ("accuracy (%)", "ECE (%)", "class-wise ECE (%)", "Brier", "NLL (nats)"):
        table.add_column(name, justify="right")
    for prior, both in calibration.measures.items():
        for when, values in both.items():
            shares = [f"{100 * values[name]:.2f}" for name in ("accuracy", "ece", "classwise_ece")]
            table.add_row(prior, when, *shares, f"{values['brier']:.4f}", f"{values['nll']:.4f}")
    return table
