"""Run folders read back: results with typed access, and the log of a run."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tailwise.core.errors import DataError, RunError, TailwiseError
from tailwise.evaluation.matrix import matrix_from_plain
from tailwise.evaluation.metrics import group_records

FORMAT = 1
_NEEDED = ("recipe", "recipe_hash", "seed", "data", "class_names", "class_counts", "select", "last", "confusion")

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Result:
    """A finished run: its folder and the contents of ``result.json``.

    Attributes:
        folder: The run folder.
        record: What ``result.json`` holds.
        changed: The change of the classifier that the numbers are of; None for the network as it was trained.
    """

    folder: Path
    record: Mapping[str, Any]
    changed: str | None = None

    @classmethod
    def from_folder(cls, path: Path | str) -> Result:
        """Reads a run folder (or its ``result.json``).

        Raises:
            RunError: There is no run, or it has not finished.
            DataError: ``result.json`` is damaged or of another format.
        """
        folder = Path(path)
        folder = folder.parent if folder.name == "result.json" else folder
        file = folder / "result.json"
        if not folder.is_dir():
            raise RunError(f"no such run folder: {folder}")
        if not file.is_file():
            started = any((folder / name).is_file() for name in ("recipe.yaml", "metrics.jsonl"))
            why = "the run has not finished (there is no result.json yet)" if started else "no result.json in it"
            raise RunError(f"{folder}: {why}")
        try:
            record = json.loads(file.read_text(encoding="utf-8"))
        except (ValueError, OSError) as error:
            raise DataError(f"{file}: cannot be read as JSON: {error}") from error
        return cls.from_record(folder, record, file)

    @classmethod
    def from_record(cls, folder: Path, record: Any, file: Path) -> Result:
        """A result from what its file holds.

        Raises:
            RunError: The run has not finished.
            DataError: Something is missing, of another format, or of other sizes.
        """
        return cls(folder, _checked(record, file))

    @property
    def recipe(self) -> str:
        """The recipe's name."""
        return str(self.record["recipe"])

    @property
    def recipe_hash(self) -> str:
        """Twelve hexadecimal digits: equal exactly when the recipe is."""
        return str(self.record["recipe_hash"])

    @property
    def seed(self) -> int:
        """The training seed."""
        return int(self.record["seed"])

    @property
    def seconds(self) -> float | None:
        """Wall-clock time of the run."""
        value = self.record.get("seconds")
        return None if value is None else float(value)

    @property
    def images_per_step(self) -> float | None:
        """Images of a step that went through the network, on average over all stages; None for older results."""
        value = self.record.get("images_per_step")
        return None if value is None else float(value)

    @property
    def epoch_seconds(self) -> float | None:
        """Wall-clock time divided by the epochs."""
        epochs = self.record.get("epochs")
        return None if self.seconds is None or not epochs else self.seconds / int(epochs)

    @property
    def select(self) -> str:
        """``last`` or ``best_on_test``: which evaluation the recipe reports."""
        return str(self.record["select"])

    @property
    def data(self) -> Mapping[str, Any]:
        """Name, sizes, imbalance factor and fingerprint of the data set, and the files that could not be read."""
        return self.record["data"]

    @property
    def class_names(self) -> list[str]:
        """Names in label order."""
        return [str(name) for name in self.record["class_names"]]

    @cached_property
    def class_counts(self) -> NDArray[np.int64]:
        """Training images per class, ``[C]``."""
        return np.asarray(self.record["class_counts"], dtype=np.int64)

    @property
    def selected(self) -> Mapping[str, Any]:
        """The evaluation that :attr:`select` names."""
        return self.record[self.select]

    @property
    def last(self) -> Mapping[str, Any]:
        """The evaluation after the last epoch."""
        return self.record["last"]

    @property
    def best_on_test(self) -> Mapping[str, Any] | None:
        """The best evaluation, chosen on the test set: an optimistic number."""
        return self.record.get("best_on_test")

    @property
    def shots(self) -> str:
        """Name of the shot protocol of the evaluation."""
        return str(self.selected["shots"])

    @cached_property
    def confusion(self) -> NDArray[np.int64]:
        """Confusion matrix of :attr:`selected`, ``[C, C]``, rows are the true class."""
        best = self.record.get("confusion_best") if self.select == "best_on_test" else None
        return matrix_from_plain(self.record["confusion"] if best is None else best, len(self.class_names))

    def confusion_after(self, stage: int) -> NDArray[np.int64] | None:
        """Confusion matrix at the end of a stage before the last, ``[C, C]``; None where the result has none."""
        found = (self.record.get("stages") or {}).get(str(stage))
        return None if found is None else matrix_from_plain(found["confusion"], len(self.class_names))

    @cached_property
    def per_class(self) -> NDArray[np.float64]:
        """Accuracy of each class in :attr:`selected`, percent, ``[C]``; NaN for a class without test images."""
        return np.array([np.nan if value is None else value for value in self.selected["per_class"]], dtype=np.float64)

    @property
    def reliability(self) -> Mapping[str, Any] | None:
        """Bins of the reliability diagram after the last epoch."""
        return self.record.get("reliability")

    def groups(self, shots: str) -> dict[str, dict[str, Any]]:
        """Group accuracies of :attr:`selected` under any shot protocol."""
        return group_records(list(self.selected["per_class"]), self.class_counts, shots)

    def posthoc(self) -> dict[str, Result]:
        """The same run with each change of the classifier that was measured, by its label."""
        changes: Mapping[str, Any] = self.record.get("posthoc") or {}
        return {
            label: Result(self.folder, {**self.record, **change, "posthoc": {}}, label)
            for label, change in changes.items()
        }

    def metrics(self) -> list[dict[str, Any]]:
        """The log of the run; with a changed classifier its evaluations only, since training is that of the run."""
        records = read_metrics(self.folder)
        if self.changed is None:
            return records
        changes = [record for record in records if self.changed in (record.get("posthoc") or {})]
        return [{**record, **record["posthoc"][self.changed]} for record in changes]

    def recipe_yaml(self) -> str | None:
        """Text of the complete recipe, or ``None`` when its file is gone."""
        file = self.folder / "recipe.yaml"
        return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else None


def find_results(folder: Path | str) -> list[Result]:
    """Every finished run in a folder and below it, in the order of their paths.

    Runs that cannot be read or have not finished are left out with a warning in the log.

    Raises:
        RunError: The folder does not exist.
    """
    base = Path(folder)
    if not base.is_dir():
        raise RunError(f"no such folder: {base}")
    results: list[Result] = []
    for file in sorted(base.rglob("result.json")):
        try:
            results.append(Result.from_folder(file.parent))
        except TailwiseError as error:
            _logger.warning("left out: %s", error)
    return results


def one_per_seed(results: Sequence[Result]) -> list[Result]:
    """The newest result of each seed, in the order of the seeds."""
    newest: dict[int, Result] = {}
    for result in sorted(results, key=lambda item: str(item.record.get("date", ""))):
        newest[result.seed] = result
    return [newest[seed] for seed in sorted(newest)]


def with_posthoc(groups: Mapping[str, Sequence[Result]]) -> dict[str, list[Result]]:
    """The groups with one more for each change of the classifier, named ``<name> + <label>``, after its recipe's own.

    Groups that were made in this way have no changes of their own, so a second call adds nothing.
    """
    found: dict[str, list[Result]] = {}
    for name, results in groups.items():
        found[name] = list(results)
        for result in results:
            for label, changed in result.posthoc().items():
                found.setdefault(f"{name} + {label}", []).append(changed)
    return found


def read_metrics(folder: Path | str) -> list[dict[str, Any]]:
    """The records of ``metrics.jsonl`` in the order in which they were written; none when there is no such file.

    A line that is not a record (a run that was killed while it wrote leaves a torn one) is left out with a warning.
    """
    file = Path(folder) / "metrics.jsonl"
    if not file.is_file():
        return []
    records: list[dict[str, Any]] = []
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if isinstance(record, dict):
            records.append(record)
        else:
            _logger.warning("%s: line %d of %d is damaged and left out", file, number, len(lines))
    return records


def _checked(record: Any, file: Path) -> Mapping[str, Any]:
    if not isinstance(record, dict):
        raise DataError(f"{file}: expected named fields, got {type(record).__name__}")
    if record.get("format") != FORMAT:
        raise DataError(f"{file}: format {record.get('format')!r} is not known; this version reads format {FORMAT}")
    if not record.get("finished", False):
        raise RunError(f"{file.parent}: the run has not finished")
    missing = [name for name in _NEEDED if name not in record]
    if missing:
        raise DataError(f"{file}: {', '.join(missing)} missing")
    select = record["select"]
    changes = record.get("posthoc") or {}
    if not isinstance(changes, dict) or not all(isinstance(change, dict) for change in changes.values()):
        raise DataError(f"{file}: posthoc must hold a record by the name of each change of the classifier")
    for holder in (record, *changes.values()):
        if select not in ("last", "best_on_test") or not isinstance(holder.get(select), dict):
            raise DataError(f"{file}: selects {select!r}, which it does not hold; one of last, best_on_test")
        if not _fits({**record, **holder}):
            raise DataError(f"{file}: class names, counts, accuracies and confusion matrix are of different sizes")
    return record


def _fits(record: Mapping[str, Any]) -> bool:
    size = len(record["class_names"])
    columns = (record["class_counts"], record[record["select"]].get("per_class", ()))
    if not all(isinstance(column, list) and len(column) == size for column in columns):
        return False
    try:
        matrix_from_plain(record["confusion"], size)
    except (ValueError, TypeError, IndexError):
        return False
    return True
