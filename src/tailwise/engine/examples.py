"""Test images of the weakest classes and where the network looked, kept at the end of a run for its page."""

from __future__ import annotations

import base64
import dataclasses
import io
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from tailwise.analysis.cam_overlay import cam_overlay
from tailwise.core.errors import TailwiseError
from tailwise.engine.sources import make_evaluation_split
from tailwise.engine.training import Training
from tailwise.evaluation.evaluate import measuring
from tailwise.models.cam import check_maps, class_activation_maps
from tailwise.models.network import Network

#: The weakest classes that are shown, and the test images of each that are looked at to choose from.
CLASSES, CANDIDATES = 10, 24
#: Pixels of a kept image at most, and of a map laid over it at least.
LARGEST, SMALLEST = 112, 64


@dataclasses.dataclass(frozen=True, eq=False)
class _Seen:
    """What the network made of ``M`` images.

    Attributes:
        images: uint8 ``[M,3,S,S]``.
        labels: int64 ``[M]``.
        predicted: int64 ``[M]``.
        confidence: float32 ``[M]``, the probability of the predicted class.
        levels: Maps of the true and of the predicted class, float32 ``[M,2,h,w]``; None without such maps.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    confidence: NDArray[np.float32]
    levels: NDArray[np.float32] | None


def weakest_examples(training: Training, per_class: int) -> dict[str, Any] | None:
    """Images of the weakest classes, those that are misread with the greatest confidence first.

    At most 24 test images of a class, spread evenly over the split, are looked at; nothing is drawn at random. The
    main process computes them alone.

    Args:
        training: Trained to its end and evaluated.
        per_class: Images of each class; 0 for none.

    Returns:
        ``epoch``, and ``classes`` from the weakest on: ``label`` and ``images``, each with ``predicted``,
        ``confidence`` in percent, ``image`` and (where the network has class activation maps, zhou2016learning) the
        maps of the true and of the predicted class laid over it, ``cam`` and ``cam_predicted``, all three as data URLs
        of small PNG or JPEG pictures. None when nothing is wanted.
    """
    last = training.measures.last
    if per_class == 0 or last is None:
        return None
    positions = _candidates(training, _weakest(last["record"]["per_class"], training.stats.counts))
    if not positions.size:
        return None
    seen = _look(training, positions)
    classes: list[dict[str, Any]] = []
    for label in dict.fromkeys(seen.labels.tolist()):
        rows = np.flatnonzero(seen.labels == label)
        wrong = seen.predicted[rows] != label
        # Misread ones by falling confidence, then those that were read rightly with the least.
        order = np.lexsort((np.where(wrong, -seen.confidence[rows], seen.confidence[rows]), ~wrong))[:per_class]
        classes.append({"label": int(label), "images": [_picture(seen, int(rows[place])) for place in order]})
    return {"epoch": last["record"]["epoch"], "classes": classes}


def _weakest(per_class: list[float | None], counts: NDArray[np.int64]) -> list[int]:
    """Labels from the lowest accuracy on, smaller classes first when equal; none without test images."""
    accuracy = np.array([np.nan if value is None else value for value in per_class], dtype=np.float64)
    order = [int(c) for c in np.lexsort((counts, accuracy)) if np.isfinite(accuracy[c])]
    return order[: min(CLASSES, max(3, counts.size // 2))]


def _candidates(training: Training, labels: list[int]) -> NDArray[np.int64]:
    """Rows of the evaluation positions, class after class."""
    prepared = training.prepared
    of = prepared.splits.test.labels[prepared.eval_positions]
    found: list[NDArray[np.int64]] = []
    for label in labels:
        rows = np.flatnonzero(of == label)
        found.append(rows[np.unique(np.linspace(0, rows.size - 1, min(CANDIDATES, rows.size)).round().astype(int))])
    return np.concatenate(found) if found else np.empty(0, dtype=np.int64)


def _look(training: Training, rows: NDArray[np.int64]) -> _Seen:
    recipe, prepared, runtime = training.recipe, training.prepared, training.runtime
    network = cast(Network, training.evaluated)
    batches = make_evaluation_split(
        dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, workers=0)),
        prepared.splits.test,
        None if prepared.pack is None else prepared.pack.eval,
        prepared.eval_positions[rows],
        runtime,
        None if prepared.eval_images is None else prepared.eval_images[rows],
        whole=True,
    )
    parts: list[tuple[Tensor, ...]] = []
    with measuring(network, runtime):
        for image, label in batches:
            maps = network.maps(network.pixel(image))
            shares = network.head.predict(network.head(maps)).float().softmax(1)
            confidence, predicted = shares.max(1)
            parts.append((image, label, predicted, confidence, _levels(network, maps, label, predicted)))
    columns = [torch.cat(column).cpu().numpy() for column in zip(*parts, strict=True)]
    levels = columns[4] if columns[4].size else None
    return _Seen(columns[0], columns[1], columns[2], columns[3], levels)


def _levels(network: Network, maps: Tensor, labels: Tensor, predicted: Tensor) -> Tensor:
    """Maps of the true and of the predicted class, float32 ``[B,2,h,w]``; ``[B,0]`` for a network without them."""
    try:
        weight = network.head.classifier_weight
        check_maps(maps, weight)
    except (TailwiseError, NotImplementedError, AttributeError, TypeError):
        return maps.new_empty(len(labels), 0)
    pair = [class_activation_maps(maps, weight, classes).float() for classes in (labels, predicted)]
    return torch.stack(pair, 1)


def _picture(seen: _Seen, row: int) -> dict[str, Any]:
    image = _small(seen.images[row].transpose(1, 2, 0))
    found: dict[str, Any] = {
        "predicted": int(seen.predicted[row]),
        "confidence": round(100 * float(seen.confidence[row]), 1),
        "image": _data_url(image),
    }
    if seen.levels is not None:
        side = max(SMALLEST, min(image.shape[:2]))
        found["cam"] = _data_url(cam_overlay(image, seen.levels[row, 0], side))
        if seen.predicted[row] != seen.labels[row]:
            found["cam_predicted"] = _data_url(cam_overlay(image, seen.levels[row, 1], side))
    return found


def _small(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if max(image.shape[:2]) <= LARGEST:
        return np.ascontiguousarray(image)
    picture = Image.fromarray(np.ascontiguousarray(image))
    picture.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
    return np.asarray(picture)


def _data_url(image: NDArray[np.uint8]) -> str:
    """The picture as PNG where it is tiny or this is smaller, else as JPEG."""
    picture = Image.fromarray(image)
    kinds = {"png": {"optimize": True}, "jpeg": {"quality": 80}}
    made: dict[str, bytes] = {}
    for kind, options in kinds.items():
        buffer = io.BytesIO()
        picture.save(buffer, format=kind, **options)
        made[kind] = buffer.getvalue()
    best = "png" if max(image.shape[:2]) <= 40 else min(made, key=lambda kind: len(made[kind]))
    return f"data:image/{best};base64,{base64.b64encode(made[best]).decode('ascii')}"
