"""Every measure of an evaluation, derived from its confusion matrix."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tailwise.core.errors import DataError
from tailwise.evaluation.confusion import Evaluation
from tailwise.evaluation.shots import shot_groups


def summarise(evaluation: Evaluation, train_counts: Any, shots: str) -> dict[str, Any]:
    """The record of one evaluation that a result file, a log line and a table hold.

    Classes without a test image have no accuracy: they are ``None`` in ``per_class`` and left out of every mean over
    classes (``balanced_accuracy``, ``geometric_mean``, ``harmonic_mean``, ``worst_class``, ``macro_f1`` and the group
    accuracies). The geometric and the harmonic mean are 0 as soon as one class is never right, as their definitions
    say; nothing is added to a zero (some published code adds a small constant, which makes the value arbitrary).
    Group accuracy is the mean of the per-class accuracies of the group (Liu et al. 2019; Kang et al. 2020).

    Args:
        evaluation: The counts.
        train_counts: Training images per class in label order, shape ``[C]``; they decide the groups.
        shots: A key of ``SHOT_PROTOCOLS``.

    Returns:
        ``top1``, ``top5``, ``balanced_accuracy``, ``geometric_mean``, ``harmonic_mean``, ``worst_class``, ``macro_f1``
        and ``ece`` in percent, ``nll`` in nats, ``groups`` (per group: ``accuracy`` in percent or ``None``,
        ``classes``, and ``images``, the number of training images), ``shots`` and ``per_class`` (``[C]``, percent).
        Plain numbers that JSON can hold; a value that is not finite (diverged logits) is ``None``.

    Raises:
        UnknownName: No such shot protocol.
        DataError: The counts do not fit the confusion matrix, or there is no test image.
    """
    counts = np.asarray(train_counts)
    confusion = evaluation.confusion.astype(np.float64)
    if counts.shape != confusion.shape[:1]:
        raise DataError(f"{counts.size} class counts were given for {confusion.shape[0]} classes")
    images = confusion.sum(axis=1)
    tested = images > 0
    if not tested.any():
        raise DataError("there is no test image")
    hits = np.diagonal(confusion)
    recall = np.full(images.shape, np.nan)
    recall[tested] = hits[tested] / images[tested]
    seen = recall[tested]
    predicted = confusion.sum(axis=0)
    f1 = 2 * hits[tested] / (images[tested] + predicted[tested])
    everywhere_right = bool((seen > 0).all())
    per_class = [_percent(value) for value in recall]
    return {
        "top1": _percent(hits.sum() / images.sum()),
        "top5": _percent(evaluation.top5_hits / images.sum()),
        "balanced_accuracy": _percent(seen.mean()),
        "geometric_mean": _percent(np.exp(np.log(seen).mean())) if everywhere_right else 0.0,
        "harmonic_mean": _percent(1 / (1 / seen).mean()) if everywhere_right else 0.0,
        "worst_class": _percent(seen.min()),
        "macro_f1": _percent(f1.mean()),
        "ece": _percent(evaluation.ece),
        "nll": float(evaluation.nll) if math.isfinite(evaluation.nll) else None,
        "groups": group_records(per_class, counts, shots),
        "shots": shots,
        "per_class": per_class,
    }


def branch_records(branches: Mapping[str, Evaluation], train_counts: Any, shots: str) -> dict[str, dict[str, Any]]:
    """What each branch of a head reaches alone, by its name.

    Args:
        branches: The counts of every branch.
        train_counts: Training images per class, ``[C]``.
        shots: A key of ``SHOT_PROTOCOLS``.

    Returns:
        Branch -> ``top1``, ``balanced_accuracy`` (percent) and ``groups``, the accuracy of each shot group in percent
        or ``None`` for a group without classes.

    Raises:
        UnknownName: No such shot protocol.
        DataError: As :func:`summarise`.
    """
    records: dict[str, dict[str, Any]] = {}
    for name, evaluation in branches.items():
        whole = summarise(evaluation, train_counts, shots)
        groups = {group: record["accuracy"] for group, record in whole["groups"].items()}
        records[name] = {"top1": whole["top1"], "balanced_accuracy": whole["balanced_accuracy"], "groups": groups}
    return records


def group_records(per_class: Sequence[float | None], train_counts: Any, shots: str) -> dict[str, dict[str, Any]]:
    """Accuracy, classes and training images of each shot group.

    Args:
        per_class: Accuracy of each class in percent, ``None`` for a class without test images, ``[C]``.
        train_counts: Training images per class, ``[C]``.
        shots: A key of ``SHOT_PROTOCOLS``.

    Returns:
        Group name -> ``accuracy`` (mean over the tested classes of the group in percent; ``None`` when there is none),
        ``classes`` and ``images`` (training images).

    Raises:
        UnknownName: No such shot protocol.
    """
    counts = np.asarray(train_counts)
    records: dict[str, dict[str, Any]] = {}
    for group, mask in shot_groups(shots, counts).items():
        known = [value for value, inside in zip(per_class, mask, strict=True) if inside and value is not None]
        records[group] = {
            "accuracy": float(np.mean(known)) if known else None,
            "classes": int(mask.sum()),
            "images": int(counts[mask].sum()),
        }
    return records


def _percent(fraction: Any) -> float | None:
    value = 100.0 * float(fraction)
    return value if math.isfinite(value) else None
