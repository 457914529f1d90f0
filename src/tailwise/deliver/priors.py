"""A prior that a user states: by name, or as a file of one number for each class."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tailwise.calibration.arrays import as_prior
from tailwise.core.errors import DataError, suggest
from tailwise.core.stats import ClassStats


def read_prior(given: Any, stats: ClassStats, class_names: tuple[str, ...]) -> NDArray[np.float64]:
    """Class frequencies ``[C]``, sum 1.

    Args:
        given: ``"uniform"``, ``"train"``, numbers ``[C]`` (shares or counts), or a file: JSON with numbers by class
            name or in label order, or text with a number on each line.
        stats: Of the training images.
        class_names: In label order.

    Raises:
        DataError: No such file or name, a file that cannot be read, classes that do not fit, or a share that is not
            positive.
    """
    if isinstance(given, str) and given == "uniform":
        return np.full(stats.num_classes, 1 / stats.num_classes)
    if isinstance(given, str) and given == "train":
        return stats.prior
    if not isinstance(given, str | Path):
        return as_prior(given, stats.num_classes)
    file = Path(given).expanduser()
    if not file.is_file():
        hint = suggest(str(given), ("uniform", "train"))
        raise DataError(f"prior {str(given)!r}: neither uniform, train nor a file{hint}")
    try:
        text = file.read_text(encoding="utf-8")
        content: Any = json.loads(text) if text.lstrip()[:1] in "{[" else [float(line) for line in text.split()]
        if isinstance(content, dict):
            _check_names(file, set(content), class_names)
            content = [content[name] for name in class_names]
        return as_prior([float(value) for value in content], stats.num_classes, f"{file}: prior")
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{file}: not a prior (a number for each class): {error}") from error


def _check_names(file: Path, given: set[str], class_names: tuple[str, ...]) -> None:
    differ = sorted(given ^ set(class_names))
    if differ:
        raise DataError(f"{file}: its classes are not those of the run; in one of them only: {', '.join(differ[:8])}")
