"""``fit``: a user's images in, a trained, measured and calibrated run out; nothing is chosen on the test images."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tailwise.commands.resolve import load_recipe
from tailwise.core.errors import DataError, RunError
from tailwise.core.stats import ClassStats
from tailwise.data.card import data_card
from tailwise.data.images import find_unreadable
from tailwise.data.open import Splits, open_data
from tailwise.deliver.calibration import fit_calibration
from tailwise.deliver.predictor import Predictor
from tailwise.engine.prepare import open_splits
from tailwise.engine.progress import Reporter, Silent
from tailwise.engine.recipe import Recipe
from tailwise.engine.sources import make_evaluation_split
from tailwise.engine.train import train
from tailwise.evaluation.logits import collect_logits
from tailwise.own.choose import Choice, choose
from tailwise.own.collect import Examples, collect
from tailwise.own.hold_out import hold_out
from tailwise.recipes.base import replace_stage, replace_stream

#: Below so many validation images a calibration says nothing.
LEAST_TO_CALIBRATE = 20

Say = Callable[[str], None]


@dataclass(frozen=True)
class Fitted:
    """What :func:`fit` made.

    Attributes:
        run: The run's folder.
        table: The table of all images with their splits.
        card: The data card (:func:`tailwise.data.card.data_card`).
        choice: The recipe that suits the data, with reasons.
        has_test: Whether the data have test images, which nothing has looked at.
        calibrated: Whether the run has a calibration.
    """

    run: Path
    table: Path
    card: dict[str, Any]
    choice: Choice
    has_test: bool
    calibrated: bool


def fit(
    source: Path | str,
    out: Path | str,
    *,
    root: Path | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    group_column: str | None = None,
    group_regex: str | None = None,
    share: float = 0.2,
    recipe: str | None = None,
    backbone: str | None = None,
    image_size: int | None = None,
    epochs: int | None = None,
    seed: int = 0,
    device: str = "auto",
    resume: bool = False,
    on_card: Callable[[dict[str, Any]], None] | None = None,
    reporter: Reporter | None = None,
    command: str = "",
) -> Fitted:
    """Looks at the data, holds out validation images where none are given, chooses a recipe, trains, calibrates.

    The run reports its last epoch on the validation images; test images are left alone.

    Args:
        source: A folder, a list file or a table; see :func:`tailwise.own.collect.collect`.
        out: Gets ``data.csv`` and the run's folder ``run``.
        root: The folder that the paths of a list or table start from.
        image_column: See :func:`tailwise.own.collect.collect`; so for the next three.
        label_column: Of class names or numbers.
        group_column: Of groups that stay on one side.
        group_regex: Finds the group in a path.
        share: Of each class, to hold out.
        recipe: In place of the one that is chosen; likewise the next three.
        backbone: Its name.
        image_size: Side in pixels.
        epochs: Of all stages together.
        seed: Of the split and the training.
        device: ``auto``, ``cpu`` or ``cuda``.
        resume: Go on with an interrupted fit.
        on_card: Gets the data card before training.
        reporter: What a person sees; nothing by default.
        command: Recorded in the result.

    Raises:
        TailwiseError: Anything in the data, the options or the folder that a person can mend.
        ValueError: ``share`` is not between 0 and 1.
    """
    base, reporter = Path(out), reporter or Silent()
    if base.exists() and not resume and (not base.is_dir() or any(base.iterdir())):
        raise RunError(f"{base} exists and is not an empty folder; go on with --resume, or choose another --out")
    examples = collect(
        Path(source),
        base / "images",
        root=root,
        image_column=image_column,
        label_column=label_column,
        group_column=group_column,
        group_regex=group_regex,
    )
    examples = _with_validation(examples, share, seed, reporter.line)
    table = base / "data.csv"
    examples.save(table)
    where = examples.root.resolve()
    splits = open_data("table", location=table, root=where, eval_split="val")
    card = data_card(splits)
    if on_card is not None:
        on_card(card)
    stats = ClassStats(splits.train.counts)
    suits = load_recipe("ce", data=str(table), root=str(where), eval_split="val").data.image_size
    on_gpu = device != "cpu" and torch.cuda.is_available()
    choice = choose(stats, image_size or suits, on_gpu=on_gpu)
    given = {"recipe": recipe, "image_size": image_size, "length": epochs or backbone}
    for decision, reason in choice.reasons.items():
        if given.get(decision) is None:
            reporter.line(reason)
    made = load_recipe(
        recipe or choice.recipe,
        data=str(table.resolve()),
        root=str(where),
        eval_split="val",
        image_size=image_size or choice.image_size,
        epochs=epochs or choice.epochs,
        changes=choice.changes if backbone is None else (f"backbone={backbone}",),
    )
    made = _with_batch(made, choice.batch, stats)
    run = dataclasses.replace(made.run, device=device)
    run_folder = train(
        dataclasses.replace(made, seed=seed, run=run), base / "run", resume=resume, reporter=reporter, command=command
    )
    return Fitted(run_folder, table, card, choice, "test" in examples.splits, _calibrate(run_folder, reporter.line))


def _with_validation(examples: Examples, share: float, seed: int, say: Say) -> Examples:
    """The examples with validation images, taken out of the training images where there are none."""
    if "val" in examples.splits:
        if examples.groups is not None:
            sides: dict[str, set[str]] = {}
            for group, split in zip(examples.groups, examples.splits, strict=True):
                sides.setdefault(group, set()).add(split)
            crossing = sorted(group for group, splits in sides.items() if len(splits) > 1)
            if crossing:
                raise DataError(
                    f"{len(crossing)} groups have images in more than one given split: {', '.join(crossing[:8])}"
                )
        return examples
    trained = np.array([split == "train" for split in examples.splits])
    labels = examples.numbers[trained]
    groups = None
    if examples.groups is not None:
        groups = [group for group, inside in zip(examples.groups, trained, strict=True) if inside]
    held = hold_out(labels, groups, share=share, seed=seed)
    splits = np.array(examples.splits, dtype=object)
    splits[np.flatnonzero(trained)[held]] = "val"
    without = np.flatnonzero(np.bincount(labels[held], minlength=labels.max() + 1) == 0)
    say(f"held out {int(held.sum()):,} of {len(labels):,} images for validation" + (
        "" if groups is None else f", {len(set(groups))} groups each on one side"))  # fmt: skip
    if without.size:
        names = ", ".join(examples.class_names[label] for label in without[:8])
        say(f"{without.size} classes have no validation image, too few images or groups to spare one: {names}")
    return dataclasses.replace(examples, splits=tuple(splits.tolist()))


def _with_batch(recipe: Recipe, batch: int | None, stats: ClassStats) -> Recipe:
    """The recipe with smaller batches and a learning rate in proportion."""
    for number, stage in enumerate(recipe.stages):
        name, stream = next(iter(stage.streams.items()))
        if batch is None or batch >= stream.batch:
            continue
        recipe = replace_stream(recipe, number, name, batch=min(batch, stats.num_images))
        if stage.optim is not None:
            optim = dataclasses.replace(stage.optim, lr=stage.optim.lr * batch / stream.batch)
            recipe = replace_stage(recipe, number, optim=optim)
    return recipe


def _calibrate(run: Path, say: Say) -> bool:
    predictor = Predictor(run, "cpu")
    splits: Splits = open_splits(predictor.recipe.data)
    everything = np.arange(len(splits.test), dtype=np.int64)
    bad = find_unreadable(splits.test, everything)
    readable = everything[~np.isin(everything, list(bad))]
    if len(readable) < LEAST_TO_CALIBRATE:
        say(f"not calibrated: {len(readable)} validation images are too few, {LEAST_TO_CALIBRATE} are needed")
        return False
    split = make_evaluation_split(predictor.recipe, splits.test, None, readable, predictor.runtime)
    logits, labels = collect_logits(predictor.network, split, predictor.runtime)
    source, digits = f"{splits.test.source}, val split", predictor.result.recipe_hash
    fit_calibration(logits, labels, predictor.stats.counts, recipe_hash=digits, source=source).save(run)
    return True
