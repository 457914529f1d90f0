"""Run folders with made-up but consistent numbers, for the tests of reports and figures."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tailwise.evaluation.confusion import Accumulator, Evaluation
from tailwise.evaluation.metrics import summarise


def profile(classes: int, largest: int = 500, factor: float = 100.0) -> NDArray[np.int64]:
    """Exponential class sizes."""
    return np.maximum(1, (largest * factor ** (-np.arange(classes) / max(classes - 1, 1))).astype(np.int64))


def evaluation(counts: NDArray[np.int64], skill: float, flat: float, per_class: int, seed: int) -> Evaluation:
    """Random logits whose margin grows with the class size; ``flat`` 1 treats all classes alike."""
    rng = np.random.default_rng((seed, int(100 * skill), int(100 * flat)))
    size = counts.size
    target = np.repeat(np.arange(size), per_class)
    share = np.log(counts / counts.min() + 1) / np.log(counts.max() / counts.min() + 1)
    logits = rng.normal(size=(target.size, size))
    kin = (target + rng.choice([-1, 1, 2], size=target.size)) % size
    logits[np.arange(target.size), kin] += 1.2
    logits[np.arange(target.size), target] += skill * (flat + (1 - flat) * 2 * share[target])
    logits += (1 - flat) * 1.5 * share
    accumulator = Accumulator(size)
    accumulator.update(torch.tensor(2 * logits, dtype=torch.float32), torch.tensor(target))
    return accumulator.compute()


def write_run(
    folder: Path,
    *,
    recipe: str = "ce",
    seed: int = 0,
    counts: NDArray[np.int64] | None = None,
    skill: float = 2.2,
    flat: float = 0.2,
    names: Sequence[str] | None = None,
    shots: str = "oltr",
    per_class: int = 20,
    epochs: int = 40,
    **changes: Any,
) -> Path:
    """Writes a finished run; ``changes`` replace top-level fields of ``result.json``."""
    counts = profile(10) if counts is None else counts
    names = [f"class {c}" for c in range(counts.size)] if names is None else list(names)
    last = evaluation(counts, skill, flat, per_class, seed)
    best = evaluation(counts, skill + 0.05, flat, per_class, seed)
    record: dict[str, Any] = {
        "format": 1,
        "recipe": recipe,
        "recipe_hash": f"{zlib.crc32(recipe.encode()):012x}",
        "seed": seed,
        "finished": True,
        "seconds": 100.0 + 3 * seed,
        "device": "cpu (2 threads)",
        "precision": "fp32",
        "world_size": 1,
        "data": {
            "name": "made-up",
            "location": None,
            "fingerprint": "sha256:" + "ab" * 32,
            "num_classes": int(counts.size),
            "train_images": int(counts.sum()),
            "test_images": int(counts.size * per_class),
            "imbalance_factor": float(counts.max() / counts.min()),
            "unreadable": [],
        },
        "class_names": names,
        "class_counts": counts.tolist(),
        "parameters": 464154,
        "epochs": epochs,
        "steps": 10 * epochs,
        "select": "last",
        "last": {"epoch": epochs, **summarise(last, counts, shots)},
        "best_on_test": {"epoch": epochs - 9, **summarise(best, counts, shots)},
        "confusion": last.confusion.tolist(),
        "confusion_best": best.confusion.tolist(),
        "reliability": last.reliability.to_plain(),
        "environment": {"tailwise": "0.1.0", "python": "3.11.2", "torch": "2.9.0", "git": None, "host": "Linux x86_64"},
        "date": f"2026-11-20T17:0{seed}:00Z",
        "command": f"tailwise train {recipe} --seed {seed}",
        "notes": [],
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "result.json").write_text(json.dumps({**record, **changes}, allow_nan=False))
    (folder / "recipe.yaml").write_text(f"# {record['recipe_hash']}\nlabel: {recipe}\nstages:\n- epochs: {epochs}\n")
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in history(record, epochs)))
    return folder


def history(record: dict[str, Any], epochs: int) -> list[dict[str, Any]]:
    """Two stages of epochs with an evaluation every fifth."""
    rng = np.random.default_rng(record["seed"])
    lines: list[dict[str, Any]] = []
    for epoch in range(1, epochs + 1):
        stage = int(epoch > 0.8 * epochs)
        loss = 2.3 * np.exp(-2.5 * epoch / epochs) - 0.1 * stage + 0.03 * rng.normal()
        common = {"stage": stage, "epoch": epoch, "step": 10 * epoch}
        lines.append({"event": "epoch", **common, "loss": loss, "accuracy": 95 - 60 * np.exp(-4 * epoch / epochs)})
        if epoch % 5 == 0 or epoch == epochs:
            top1 = record["last"]["top1"] * (1 - np.exp(-4 * epoch / epochs)) + rng.normal()
            lines.append({"event": "evaluation", **common, "top1": top1 if epoch < epochs else record["last"]["top1"]})
    return lines
