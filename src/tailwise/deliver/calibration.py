"""The calibration of a run: a temperature, prediction sets and a confidence to answer at, from held-out images."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tailwise.calibration.conformal import ConformalSets, Method, fit_conformal
from tailwise.calibration.measures import measure_calibration
from tailwise.calibration.probabilities import softmax
from tailwise.calibration.selective import risk_coverage
from tailwise.calibration.temperature import TemperatureScaling, fit_temperature
from tailwise.core.checks import within
from tailwise.core.errors import DataError
from tailwise.engine.run_folder import write_file

FILE = "calibration.json"
FORMAT = 1


@dataclass(frozen=True, eq=False)
class RunCalibration:
    """What was fitted on held-out images, kept beside a run as ``calibration.json``.

    Attributes:
        temperature: Divides the logits.
        sets: Prediction sets on the scaled probabilities.
        answer_from: Largest probability from which an answer is given; infinite when no confidence kept the risk.
        most_risk: Share of wrong answers that ``answer_from`` was chosen for.
        recipe_hash: Of the run.
        images: Number of held-out images.
        source: Where they came from, for people.
        measures: Calibration on these images before and after, under uniform and under the training prior.
    """

    temperature: TemperatureScaling
    sets: ConformalSets
    answer_from: float
    most_risk: float
    recipe_hash: str
    images: int
    source: str
    measures: dict[str, Any]

    def probabilities(self, logits: Any) -> NDArray[np.float64]:
        """Scaled probabilities ``[N, C]`` of logits ``[N, C]``."""
        return softmax(self.temperature(logits))

    def save(self, folder: Path) -> Path:
        """Writes ``calibration.json`` into a run's folder, at once or not at all.

        Raises:
            RunError: The folder cannot be written.
        """
        content = {
            "format": FORMAT,
            "recipe_hash": self.recipe_hash,
            "images": self.images,
            "source": self.source,
            "temperature": self.temperature.temperature,
            "method": self.sets.method,
            "miscoverage": self.sets.miscoverage,
            "thresholds": [None if math.isinf(value) else value for value in self.sets.thresholds.tolist()],
            "prior": self.sets.prior.tolist(),
            "answer_from": None if math.isinf(self.answer_from) else self.answer_from,
            "most_risk": self.most_risk,
            "units": "measures are fractions, nll in nats; a threshold of null is infinite",
            "measures": self.measures,
        }
        write_file(folder / FILE, json.dumps(content, indent=1) + "\n")
        return folder / FILE

    @classmethod
    def load(cls, folder: Path, recipe_hash: str, num_classes: int) -> RunCalibration | None:
        """The calibration of a run, or None when there is none.

        Raises:
            DataError: The file is damaged, of another format, or of another run.
        """
        file = folder / FILE
        if not file.exists():
            return None
        again = "make it anew with `tailwise calibrate`, or delete the file"
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            if content["format"] != FORMAT:
                raise DataError(f"{file}: format {content['format']!r} is not known; {again}")
            thresholds = [math.inf if value is None else float(value) for value in content["thresholds"]]
            sets = ConformalSets(
                content["method"], float(content["miscoverage"]), np.array(thresholds), np.array(content["prior"])
            )
            found = cls(
                TemperatureScaling(float(content["temperature"])),
                sets,
                math.inf if content["answer_from"] is None else float(content["answer_from"]),
                float(content["most_risk"]),
                str(content["recipe_hash"]),
                int(content["images"]),
                str(content["source"]),
                dict(content["measures"]),
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{file}: damaged ({type(error).__name__}: {error}); {again}") from error
        if found.recipe_hash != recipe_hash or sets.thresholds.shape != (num_classes,) != sets.prior.shape:
            raise DataError(f"{file}: of another run (recipe {found.recipe_hash}, this is {recipe_hash}); {again}")
        return found


def fit_calibration(
    logits: Any,
    labels: Any,
    counts: Any,
    *,
    recipe_hash: str,
    source: str,
    method: Method = "split",
    miscoverage: float = 0.1,
    most_risk: float = 0.05,
) -> RunCalibration:
    """Temperature on one half of the held-out images, sets and threshold on the other.

    The halves (every second image of each class) keep the promise of the sets: images that the temperature was fitted
    on are not exchangeable with new ones.

    Args:
        logits: ``[N, C]``.
        labels: ``[N]``.
        counts: Training images per class, ``[C]``.
        recipe_hash: Of the run.
        source: Where the images came from, for people.
        method: Of the prediction sets.
        miscoverage: Share of sets that may miss the true class.
        most_risk: Share of answers that may be wrong.

    Raises:
        ValueError: ``miscoverage`` or ``most_risk`` is out of range.
        DataError: Fewer than four held-out images.
    """
    within("most_risk", most_risk, 0, 1)
    values, target = np.asarray(logits, dtype=np.float64), np.asarray(labels)
    if len(target) < 4:
        raise DataError(f"{len(target)} held-out images are too few to calibrate on; at least 4 are needed")
    first = np.zeros(len(target), dtype=bool)
    for offset, label in enumerate(np.unique(target)):
        # Classes begin with different halves in turn, so that classes of one image do not all go to one of them.
        first[np.flatnonzero(target == label)[offset % 2 :: 2]] = True
    if first.all() or not first.any():
        first = np.arange(len(target)) % 2 == 0
    temperature = fit_temperature(values[first], target[first])
    scaled = softmax(temperature(values))
    sets = fit_conformal(scaled[~first], target[~first], method=method, miscoverage=miscoverage, source_prior=counts)
    threshold = risk_coverage(scaled[~first], target[~first]).threshold(most_risk)
    priors = {"uniform": np.ones(values.shape[1]), "train": np.asarray(counts)}
    measures = {
        name: {
            when: vars(measure_calibration(p[~first], target[~first], prior))
            for when, p in (("before", softmax(values)), ("after", scaled))
        }
        for name, prior in priors.items()
    }
    return RunCalibration(
        temperature,
        sets,
        math.inf if threshold is None else threshold,
        most_risk,
        recipe_hash,
        len(target),
        source,
        measures,
    )
