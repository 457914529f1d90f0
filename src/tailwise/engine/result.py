"""The end of a run: its final weights, its record with everything a table needs, and its page."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import platform
import subprocess
from pathlib import Path
from typing import Any, cast

import torch

from tailwise.engine.checkpoint import save_weights
from tailwise.engine.examples import weakest_examples
from tailwise.engine.measure import Kept
from tailwise.engine.memory import peak_memory
from tailwise.engine.run_folder import SHARED, RunFolder
from tailwise.engine.training import Training
from tailwise.evaluation.matrix import matrix_to_plain
from tailwise.models.cost import cost_of
from tailwise.models.network import Network
from tailwise.report.ledger import Result


def write_result(training: Training, command: str) -> None:
    """Writes ``model.safetensors``, ``examples.json``, ``result.json`` and ``report.html`` into the run's folder.

    Args:
        training: Trained to its end.
        command: What a person typed.
    """
    recipe, prepared, folder = training.recipe, training.prepared, training.folder
    last, best = training.measures.last, training.measures.best
    if last is None or best is None:
        raise RuntimeError("a run ended without an evaluation")
    note = {"recipe": recipe.name, "recipe_hash": recipe.hash, "seed": str(recipe.seed)}
    final = cast(Network, training.evaluated).for_inference()
    save_weights(folder.path / "model.safetensors", final.state_dict(), note)
    stats = prepared.index.stats
    result: dict[str, Any] = {
        "format": 1,
        "recipe": recipe.name,
        "recipe_hash": recipe.hash,
        "variant": recipe.variant,
        "seed": recipe.seed,
        "finished": True,
        "seconds": round(training.seconds, 3),
        "startup_seconds": round(training.startup_seconds, 3),
        "executor": training.executor,
        "at_once": training.at_once,
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
            "pixels": recipe.data.pixels,
            "unreadable": list(prepared.unreadable),
        },
        "class_names": list(prepared.index.class_names),
        "class_counts": stats.counts.tolist(),
        "parameters": sum(item.numel() for item in final.parameters()),
        "multiply_accumulates": _multiply_accumulates(final, recipe.data.image_size),
        "epochs": last["record"]["epoch"],
        "steps": training.step,
        "images_per_step": round(training.mean_images_per_step, 3),
        "images": round(training.mean_images_per_step * training.step),
        "memory": peak_memory(training.runtime.device),
        "units": (
            "accuracies, errors of calibration and f1 in percent; nll in nats; seconds of training and evaluation, "
            "an even share of them when several runs were trained at once; startup_seconds before a stage's first step"
            "; images: training images of all steps, counted each time they are shown; memory: the peak in bytes"
        ),
        "select": recipe.evaluate.select,
        "last": last["record"],
        "best_on_test": best["record"],
        "confusion": matrix_to_plain(last["confusion"]),
        "confusion_best": matrix_to_plain(best["confusion"]),
        "reliability": last["reliability"],
        "stages": {
            str(number): {"last": found["record"], "confusion": matrix_to_plain(found["confusion"])}
            for number, found in training.measures.stages.items()
        },
        "posthoc": {label: _posthoc(kept) for label, kept in training.measures.posthoc.items()},
        "environment": environment(),
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "command": command,
        "notes": [*([recipe.notes] if recipe.notes else []), *training.notes],
        "shared_stages": folder.read_json(SHARED),
    }
    examples = weakest_examples(training, recipe.run.examples)
    if examples is not None:
        folder.write("examples.json", json.dumps(examples) + "\n")
    folder.write_json("result.json", result)
    draw(folder)


def _multiply_accumulates(network: Network, image_size: int) -> int | None:
    """For one image at test time; None for a network that cannot run without data."""
    try:
        return cost_of(network, image_size).multiply_accumulates
    except (RuntimeError, NotImplementedError):
        return None


def _posthoc(kept: Kept) -> dict[str, Any]:
    """What a result holds of one change of the classifier, under the names that it has for the network itself."""
    last, best = kept.last, kept.best
    if last is None or best is None:
        raise RuntimeError("a run ended without measuring a change of the classifier")
    return {
        "last": last["record"],
        "best_on_test": best["record"],
        "confusion": matrix_to_plain(last["confusion"]),
        "confusion_best": matrix_to_plain(best["confusion"]),
        "reliability": last["reliability"],
    }


def draw(folder: RunFolder) -> None:
    """The page of a finished run."""
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
