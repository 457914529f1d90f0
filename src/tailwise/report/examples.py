"""Example images of the weakest classes, read back from the run folders and bounded in size."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tailwise.report.ledger import Result

#: Characters that all pictures of a page take together at most, and of one picture.
BUDGET, LARGEST = 1_500_000, 60_000
#: Classes and images of each for a page of one recipe, and for a page of several.
ALONE, SEVERAL = (10, 3), (5, 2)
#: The pictures of an example: the image, the map of the true class, the map of the class it was taken for.
PICTURES = ("image", "cam", "cam_predicted")

_DATA_URL = re.compile(r"data:image/(?:png|jpeg);base64,[A-Za-z0-9+/]+={0,2}")
_logger = logging.getLogger(__name__)


def example_classes(chosen: Mapping[str, Sequence[Result]]) -> dict[str, list[dict[str, Any]]]:
    """Per recipe, its weakest classes with images, from the first seed that kept some.

    Args:
        chosen: Recipe -> results. Changes of a classifier have no images of their own.

    Returns:
        Recipe -> classes with ``name``, ``count`` (training images) and ``images``: each with ``taken_for``, ``right``,
        ``confidence`` (percent) and those of ``image``, ``cam`` and ``cam_predicted`` that were kept. Recipes without
        images are left out. Damaged files are left out with a warning in the log; older runs have none.
    """
    runs = {name: results for name, results in chosen.items() if results[0].changed is None}
    classes, images = ALONE if len(runs) <= 1 else SEVERAL
    found: dict[str, list[dict[str, Any]]] = {}
    for name, results in runs.items():
        left = BUDGET // len(runs)
        kept: list[dict[str, Any]] = []
        for record in next((read for result in results if (read := _read(result))), [])[:classes]:
            shown = record["images"][:images]
            left -= sum(len(image[key]) for image in shown for key in PICTURES if key in image)
            if left < 0:
                break
            kept.append({**record, "images": shown})
        if kept:
            found[name] = kept
    return found


def _read(result: Result) -> list[dict[str, Any]]:
    file = Path(result.folder) / "examples.json"
    if not file.is_file():
        return []
    names, counts = result.class_names, result.class_counts
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        return [
            {
                "name": names[_label(entry["label"], names)],
                "count": int(counts[entry["label"]]),
                "images": [_image(image, entry["label"], names) for image in entry["images"]],
            }
            for entry in record["classes"]
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        _logger.warning("%s: example images left out, the file is damaged: %s", file, error)
        return []


def _image(record: Mapping[str, Any], label: int, names: Sequence[str]) -> dict[str, Any]:
    predicted = _label(record["predicted"], names)
    found: dict[str, Any] = {
        "taken_for": names[predicted],
        "right": predicted == label,
        "confidence": float(record["confidence"]),
    }
    for key in PICTURES:
        url = record.get(key)
        if url is None and key != "image":
            continue
        if not isinstance(url, str) or len(url) > LARGEST or not _DATA_URL.fullmatch(url):
            raise ValueError(f"{key} is no small picture")
        found[key] = url
    return found


def _label(value: Any, names: Sequence[str]) -> int:
    if not isinstance(value, int) or not 0 <= value < len(names):
        raise ValueError(f"{value!r} is no class")
    return value
