"""When a run is evaluated, what came out last and what came out best, and where the numbers are logged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tailwise.core.stats import ClassStats
from tailwise.engine.loggers import JsonLines, TensorBoard
from tailwise.engine.recipe import Evaluate
from tailwise.engine.runtime import Runtime
from tailwise.evaluation.evaluate import EvaluationSplit, evaluate
from tailwise.evaluation.matrix import cells, from_cells
from tailwise.evaluation.metrics import summarise


class Measures:
    """The evaluations of one run. Both the last and the best record are kept; a table says which one it prints.

    Args:
        spec: When to evaluate, and the shot protocol.
        split: Evaluation batches.
        stats: Class counts of the training index.
        runtime: Device and precision.
        epochs: Epochs of the whole run.
    """

    def __init__(
        self, spec: Evaluate, split: EvaluationSplit, stats: ClassStats, runtime: Runtime, epochs: int
    ) -> None:
        self.spec, self.split, self.stats, self.runtime, self.epochs = spec, split, stats, runtime, epochs
        self.last: dict[str, Any] | None = None
        self.best: dict[str, Any] | None = None

    def due(self, epoch: int) -> bool:
        """Whether to evaluate after this epoch (from 1)."""
        return epoch % self.spec.every == 0 or epoch > self.epochs - self.spec.last

    def evaluate(self, network: nn.Module, epoch: int) -> dict[str, Any]:
        """Evaluates, remembers, and returns the record without its per-class values."""
        self.runtime.share_buffers(network)
        measured = evaluate(network, self.split, self.stats.num_classes, self.runtime, self.runtime.device)
        record = {"epoch": epoch, **summarise(measured, self.stats.counts, self.spec.shots)}
        self.last = {
            "record": record,
            "confusion": measured.confusion,
            "reliability": measured.reliability.to_plain(),
        }
        if self.best is None or record["top1"] > self.best["record"]["top1"]:
            self.best = self.last
        return {name: value for name, value in record.items() if name != "per_class"}

    def state(self) -> dict[str, Any]:
        """For a checkpoint: plain records as text, matrices by their filled cells."""
        return {"last": _packed(self.last), "best": _packed(self.best)}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from :meth:`state`."""
        classes = self.stats.num_classes
        self.last, self.best = _unpacked(state["last"], classes), _unpacked(state["best"], classes)


def _packed(found: dict[str, Any] | None) -> dict[str, Any] | None:
    if found is None:
        return None
    plain = json.dumps({name: value for name, value in found.items() if name != "confusion"})
    filled = {name: torch.from_numpy(array) for name, array in cells(found["confusion"]).items()}
    return {"plain": plain, "confusion": filled}


def _unpacked(state: dict[str, Any] | None, num_classes: int) -> dict[str, Any] | None:
    if state is None:
        return None
    filled = {name: value.numpy() for name, value in state["confusion"].items()}
    return {**json.loads(state["plain"]), "confusion": from_cells(num_classes, **filled)}


class Logs:
    """The metric logs of one run; nothing on other processes than the main one.

    Args:
        folder: The run's folder.
        keep: Lines of ``metrics.jsonl`` that stay when a run goes on.
        tensorboard: Whether to write TensorBoard files too.
        is_main: Whether this process writes.
    """

    def __init__(self, folder: Path, keep: int, *, tensorboard: bool, is_main: bool) -> None:
        self._lines = JsonLines(folder / "metrics.jsonl", keep) if is_main else None
        self._tensorboard = TensorBoard(folder) if is_main and tensorboard else None

    @property
    def lines(self) -> int:
        """Lines written so far."""
        return 0 if self._lines is None else self._lines.lines

    def write(self, record: dict[str, Any]) -> None:
        """Appends a record everywhere."""
        for logger in (self._lines, self._tensorboard):
            if logger is not None:
                logger.write(record)
