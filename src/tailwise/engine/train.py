"""From a recipe to a finished run folder: prepare the data, claim the folder, train, write the result and the page."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
import platform
import signal
import subprocess
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from tailwise.data.loader import HostSource
from tailwise.data.resident import ResidentSource
from tailwise.data.source import BatchSource
from tailwise.data.transforms import ItemTransform
from tailwise.engine.checkpoint import save_weights
from tailwise.engine.loop import Training
from tailwise.engine.prepare import Prepared, prepare
from tailwise.engine.progress import Reporter, Silent
from tailwise.engine.recipe import Data, Recipe
from tailwise.engine.run_folder import RunFolder, default_folder
from tailwise.engine.runtime import Runtime
from tailwise.engine.threads import cpu_threads
from tailwise.evaluation.evaluate import EvaluationSplit
from tailwise.evaluation.matrix import matrix_to_plain
from tailwise.models.backbone import check_backbone
from tailwise.report.ledger import Result


class DataCache:
    """The last prepared data, so that runs that differ only in their method decode the images once."""

    def __init__(self) -> None:
        self._key: tuple[Data, str] | None = None
        self._prepared: Prepared | None = None

    def get(self, data: Data, runtime: Runtime, reporter: Reporter) -> Prepared:
        """Prepared data for a recipe's data section."""
        key = (data, runtime.device.type)
        if self._prepared is None or self._key != key:
            self._key, self._prepared = key, prepare(data, runtime.device, reporter.line)
        return self._prepared


def train(
    recipe: Recipe,
    out: Path | None = None,
    *,
    base: Path = Path("runs"),
    resume: bool = False,
    reporter: Reporter | None = None,
    cache: DataCache | None = None,
    command: str = "",
) -> Path:
    """Trains a recipe and writes its run folder.

    Args:
        recipe: What to train.
        out: The run's folder; ``<base>/<data>/<recipe>-<hash>/seed<seed>`` when not given.
        base: Where that default folder lies.
        resume: Go on from the newest checkpoint in the folder, or start when there is none.
        reporter: What a person sees; nothing by default.
        cache: Shared between runs on the same data.
        command: Recorded in the result.

    Returns:
        The run's folder. When it holds the finished result of this very recipe and seed, nothing is trained.

    Raises:
        TailwiseError: Anything in the data, the recipe or the folder that a person can mend, before training starts;
            a loss that is not finite, a full disk or an interruption while it goes on.
    """
    reporter = reporter or Silent()
    check_backbone(recipe.backbone.name)
    runtime = Runtime(recipe.run.device, recipe.precision)
    prepared = (cache or DataCache()).get(recipe.data, runtime, reporter)
    recipe = dataclasses.replace(recipe, data=prepared.data)
    folder = RunFolder(out or default_folder(recipe, base))
    folder.check(recipe, resume=resume)
    if folder.finished:
        if runtime.is_main and not (folder.path / "report.html").exists():
            _draw(folder)
        reporter.line(f"{folder.path} holds the finished result of this recipe and seed; nothing to train")
        return folder.path
    with _stop_signals() as stop, cpu_threads(recipe):
        training = Training(
            recipe,
            prepared,
            _source(recipe, prepared, runtime),
            _split(recipe, prepared, runtime),
            runtime,
            folder,
            reporter,
            stop.is_set,
        )
        try:
            if runtime.is_main:
                folder.claim(recipe, resume=resume)
                prepared.index.save(folder.path / "index.json")
            runtime.barrier()
            reporter.line(_about(prepared, runtime))
            training.run(resume=resume)
            if runtime.is_main:
                _finish(training, folder, command)
                reporter.line(_outcome(training))
            runtime.barrier()
        finally:
            folder.release()
    return folder.path


def _about(prepared: Prepared, runtime: Runtime) -> str:
    stats = prepared.index.stats
    return (
        f"{prepared.splits.train.source}: {stats.num_images:,} training images in {stats.num_classes} classes of "
        f"{stats.counts.max():,} to {stats.counts.min():,}, {len(prepared.eval_positions):,} for evaluation; "
        f"{'resident' if prepared.resident else 'host path'} on {runtime.device_name}"
    )


def _outcome(training: Training) -> str:
    record = (training.measures.last or {}).get("record", {})
    return (
        f"{training.recipe.name} · seed {training.recipe.seed}: top-1 {record.get('top1', 0.0):.1f} % after epoch "
        f"{record.get('epoch')}, {training.seconds:.0f} s"
    )


def _source(recipe: Recipe, prepared: Prepared, runtime: Runtime) -> BatchSource:
    index, data = prepared.index, recipe.data
    if prepared.train_images is not None:
        return ResidentSource(prepared.train_images, index.labels, runtime.device)
    cropped = data.augmentation == "random_resized_crop"
    return HostSource(
        prepared.splits.train,
        index.positions,
        index.labels,
        size=data.image_size,
        transform=ItemTransform(data.image_size, data.color_jitter) if cropped else None,
        workers=data.workers,
        device=runtime.device,
    )


def _split(recipe: Recipe, prepared: Prepared, runtime: Runtime) -> EvaluationSplit:
    return EvaluationSplit(
        prepared.splits.test,
        prepared.eval_positions,
        prepared.eval_images,
        size=recipe.data.image_size,
        batch=recipe.evaluate.batch,
        workers=recipe.data.workers,
        device=runtime.device,
        rank=runtime.rank,
        world=runtime.world,
        zoom=recipe.data.eval_zoom,
    )


def _finish(training: Training, folder: RunFolder, command: str) -> None:
    recipe, prepared = training.recipe, training.prepared
    last, best = training.measures.last, training.measures.best
    if last is None or best is None:
        raise RuntimeError("a run ended without an evaluation")
    note = {"recipe": recipe.name, "recipe_hash": recipe.hash, "seed": str(recipe.seed)}
    save_weights(folder.path / "model.safetensors", training.evaluated.state_dict(), note)
    stats = prepared.index.stats
    result: dict[str, Any] = {
        "format": 1,
        "recipe": recipe.name,
        "recipe_hash": recipe.hash,
        "variant": recipe.variant,
        "seed": recipe.seed,
        "finished": True,
        "seconds": round(training.seconds, 3),
        "device": training.runtime.device_name,
        "precision": recipe.precision,
        "world_size": training.runtime.world,
        "data": {
            "name": recipe.data.name,
            "location": recipe.data.location,
            "fingerprint": recipe.data.fingerprint,
            "num_classes": stats.num_classes,
            "train_images": stats.num_images,
            "test_images": len(prepared.eval_positions),
            "imbalance_factor": stats.imbalance_factor,
            "path": "resident" if prepared.resident else "host",
            "unreadable": list(prepared.unreadable),
        },
        "class_names": list(prepared.index.class_names),
        "class_counts": stats.counts.tolist(),
        "parameters": sum(item.numel() for item in training.network.parameters()),
        "epochs": last["record"]["epoch"],
        "steps": training.step,
        "units": "accuracies, errors of calibration and f1 in percent; nll in nats; seconds of training and evaluation",
        "select": recipe.evaluate.select,
        "last": last["record"],
        "best_on_test": best["record"],
        "confusion": matrix_to_plain(last["confusion"]),
        "confusion_best": matrix_to_plain(best["confusion"]),
        "reliability": last["reliability"],
        "environment": environment(),
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "command": command,
        "notes": [recipe.notes] if recipe.notes else [],
    }
    folder.write_json("result.json", result)
    _draw(folder)


def _draw(folder: RunFolder) -> None:
    # Drawing needs matplotlib, which a command that does not draw should not wait for.
    from tailwise.report.page import write_page

    result = Result.from_folder(folder.path)
    write_page({result.recipe: [result]}, folder.path / "report.html")


def environment() -> dict[str, str | None]:
    """Versions and machine, for a result's record."""
    return {
        "tailwise": importlib.metadata.version("tailwise"),
        "git": _commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "host": f"{platform.system()} {platform.machine()}",
    }


def _commit() -> str | None:
    """The commit of the checkout that this package runs from, or None for an installed one."""
    here = Path(__file__).resolve().parents[3]
    if not (here / ".git").exists():
        return None
    try:
        run = subprocess.run(
            ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=10"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return run.stdout.strip() or None


@contextmanager
def _stop_signals() -> Generator[threading.Event]:
    """Ctrl-C and the termination signal set an event that the loop asks after; a second Ctrl-C ends at once."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def ask(number: int, frame: Any) -> None:
        del frame
        stop.set()
        signal.signal(number, previous[signal.Signals(number)] or signal.SIG_DFL)

    for number in previous:
        signal.signal(number, ask)
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler or signal.SIG_DFL)
