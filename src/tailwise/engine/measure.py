"""When a run is evaluated, what came out last and what came out best, and where the numbers are logged."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from tailwise.core.stats import ClassStats
from tailwise.engine.loggers import JsonLines, TensorBoard
from tailwise.engine.recipe import Evaluate
from tailwise.engine.runtime import Runtime
from tailwise.evaluation.confusion import Evaluation
from tailwise.evaluation.evaluate import EvaluationSplit, evaluate, evaluate_heads
from tailwise.evaluation.matrix import cells, from_cells
from tailwise.evaluation.metrics import branch_records, summarise
from tailwise.models.network import Network
from tailwise.posthoc.base import TrainingFeatures


class Kept:
    """The last evaluation and the best one: ``record``, ``confusion`` and ``reliability`` of each."""

    def __init__(self) -> None:
        self.last: dict[str, Any] | None = None
        self.best: dict[str, Any] | None = None

    def take(self, measured: Evaluation, record: dict[str, Any]) -> dict[str, Any]:
        """Remembers an evaluation; returns its record without the values of each class."""
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

    def restore(self, state: dict[str, Any], num_classes: int) -> None:
        """Goes on from :meth:`state`."""
        self.last, self.best = _unpacked(state["last"], num_classes), _unpacked(state["best"], num_classes)


class Measures:
    """The evaluations of one run. Both the last and the best record are kept; a table says which one it prints.

    Every change of the classifier that the recipe names is measured in the same pass over the images and has a last and
    a best record of its own. One that reads features of the training images is measured after the last epoch only.
    Where the head has branches, the record says under ``branches`` what each of them reaches alone.

    Args:
        spec: When to evaluate, the shot protocol, and changes of the classifier.
        split: Evaluation batches.
        stats: Class counts of the training index.
        runtime: Device and precision.
        epochs: Epochs of the whole run.
        features: Computes the features of the training images; not called unless something reads them.
    """

    def __init__(
        self,
        spec: Evaluate,
        split: EvaluationSplit,
        stats: ClassStats,
        runtime: Runtime,
        epochs: int,
        features: Callable[[Network], TrainingFeatures] | None = None,
    ) -> None:
        self.spec, self.split, self.stats, self.runtime, self.epochs = spec, split, stats, runtime, epochs
        self.features = features
        self.trained = Kept()
        #: By its number, what a stage before the last one ended with: ``record`` and ``confusion``.
        self.stages: dict[int, dict[str, Any]] = {}
        #: By the label of the change, in the order of the recipe.
        self.posthoc = {posthoc.label: Kept() for posthoc in spec.posthoc}

    @property
    def last(self) -> dict[str, Any] | None:
        """The last evaluation of the network as it was trained."""
        return self.trained.last

    @property
    def best(self) -> dict[str, Any] | None:
        """Its best evaluation."""
        return self.trained.best

    def due(self, epoch: int) -> bool:
        """Whether to evaluate after this epoch (from 1)."""
        return epoch % self.spec.every == 0 or epoch > self.epochs - self.spec.last

    def evaluate(self, network: nn.Module, epoch: int) -> dict[str, Any]:
        """Evaluates, remembers, and returns the record without its per-class values, that of each change in it."""
        self.runtime.share_buffers(network)
        classes, device = self.stats.num_classes, self.runtime.device
        branched = isinstance(network, Network) and bool(network.head.branches)
        if not self.posthoc and not branched:
            return self.trained.take(
                *self._summary(evaluate(network, self.split, classes, self.runtime, device), epoch)
            )
        network = cast(Network, network)
        wanted = [posthoc for posthoc in self.spec.posthoc if epoch == self.epochs or not posthoc.needs_features]
        reads = any(posthoc.needs_features for posthoc in wanted)
        features = self.features(network) if reads and self.features is not None else None
        heads = {posthoc.label: posthoc.apply(network.head, self.stats, features) for posthoc in wanted}
        measured = evaluate_heads(network, heads, self.split, classes, self.runtime, device)
        own, record = self._summary(measured.own, epoch)
        if measured.branches:
            record["branches"] = branch_records(measured.branches, self.stats.counts, self.spec.shots)
        shown = self.trained.take(own, record)
        changed = {
            label: self.posthoc[label].take(*self._summary(other, epoch)) for label, other in measured.others.items()
        }
        return {**shown, "posthoc": changed} if changed else shown

    def end_stage(self, number: int) -> None:
        """Remembers the last evaluation as that with which a stage ended."""
        if self.last is not None:
            self.stages[number] = {name: self.last[name] for name in ("record", "confusion")}

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {
            **self.trained.state(),
            "posthoc": {label: kept.state() for label, kept in self.posthoc.items()},
            "stages": {number: _packed(found) for number, found in self.stages.items()},
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from :meth:`state`."""
        classes = self.stats.num_classes
        self.trained.restore(state, classes)
        for label, kept in self.posthoc.items():
            kept.restore(state["posthoc"][label], classes)
        for number, packed in state.get("stages", {}).items():
            found = _unpacked(packed, classes)
            if found is not None:
                self.stages[int(number)] = found

    def _summary(self, measured: Evaluation, epoch: int) -> tuple[Evaluation, dict[str, Any]]:
        return measured, {"epoch": epoch, **summarise(measured, self.stats.counts, self.spec.shots)}


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
