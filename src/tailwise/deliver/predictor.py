"""Predictions of a finished run on any images, with its own preprocessing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from tailwise.calibration.prior_shift import adjust_logits
from tailwise.calibration.probabilities import softmax
from tailwise.core.errors import DataError
from tailwise.core.stats import ClassStats
from tailwise.deliver.calibration import RunCalibration
from tailwise.deliver.images import ImageLike, Square, find_images, squares
from tailwise.deliver.logits_prior import logits_prior
from tailwise.deliver.priors import read_prior
from tailwise.engine.load import load_network
from tailwise.engine.runtime import Runtime
from tailwise.evaluation.evaluate import measuring


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a run says about one image.

    Attributes:
        name: The image's path, or its number among the given ones.
        class_names: In label order.
        logits: ``[C]``, float32, of the network as it stands; empty when the image cannot be read.
        probabilities: ``[C]``, calibrated when the run is, under the prior that was asked for; empty as above.
        prediction_set: Labels of the conformal set, most probable first; None without a calibration.
        abstains: Whether the calibration advises to give no answer; None without one.
        error: Why the image cannot be read, else None.
    """

    name: str
    class_names: tuple[str, ...]
    logits: NDArray[np.float32]
    probabilities: NDArray[np.float64]
    prediction_set: tuple[int, ...] | None = None
    abstains: bool | None = None
    error: str | None = None

    @property
    def label(self) -> int | None:
        """The most probable class, or None for an image that cannot be read."""
        return int(self.probabilities.argmax()) if self.probabilities.size else None

    def top(self, number: int = 5) -> list[tuple[str, float]]:
        """The most probable classes by name with their probabilities, at most ``number`` of them."""
        order = np.argsort(-self.probabilities, kind="stable")[:number]
        return [(self.class_names[label], float(self.probabilities[label])) for label in order]


class Predictor:
    """A finished run, ready to predict.

    Args:
        folder: The run's folder.
        device: Where the network computes.

    Raises:
        RunError: No finished run there, or weights that do not fit its recipe.
        DataError: The run's calibration is damaged or of another run.
    """

    def __init__(self, folder: Path | str, device: Literal["auto", "cpu", "cuda"] = "auto") -> None:
        self.folder = Path(folder)
        self.recipe, self.network, self.result = load_network(self.folder)
        self.class_names = tuple(self.result.class_names)
        self.stats = ClassStats(self.result.class_counts)
        #: None when `tailwise calibrate` was never run.
        self.calibration = RunCalibration.load(self.folder, self.result.recipe_hash, len(self.class_names))
        on_gpu = device != "cpu" and torch.cuda.is_available()
        # fp16 is for GPUs; a CPU computes the same weights in float32.
        self.runtime = Runtime(device, self.recipe.precision if on_gpu or self.recipe.precision != "fp16" else "fp32")
        self.network.to(self.runtime.device)

    def predict(
        self, images: ImageLike | Iterable[ImageLike], *, prior: Any = None, model_prior: Any = None
    ) -> list[Prediction]:
        """Predictions in the order of the images; see :meth:`stream`. A folder stands for the images in it.

        Raises:
            DataError: Neither an image nor several.
            TailwiseError: As :meth:`stream`.
        """
        return list(self.stream(_listed(images), prior=prior, model_prior=model_prior))

    def stream(
        self,
        images: Sequence[ImageLike],
        *,
        prior: Any = None,
        model_prior: Any = None,
        batch: int = 64,
        workers: int = 2,
    ) -> Iterator[Prediction]:
        """Predictions one by one; memory does not grow with the number of images.

        Sets and abstention are those of the images that the run was calibrated on: ``prior`` does not change them.

        Args:
            images: Paths of files, Pillow images or uint8 arrays ``[H,W]`` or ``[H,W,3]``.
            prior: Class frequencies at the place of use: ``"uniform"``, ``"train"``, numbers ``[C]``, or a file
                (:func:`tailwise.deliver.priors.read_prior`). None takes the probabilities as the network gives them.
            model_prior: Class frequencies that the network's logits are of; None: by its recipe
                (:func:`tailwise.deliver.logits_prior.logits_prior`).
            batch: Images a step.
            workers: Threads that decode.

        Raises:
            TailwiseError: A prior that does not fit, or one that the recipe does not tell.
            DataError: Something that is no image; an image that cannot be read is a prediction with an ``error``.
        """
        shift = self._shift(prior, model_prior)
        size, zoom = self.recipe.data.image_size, self.recipe.data.eval_zoom
        return self._stream(squares(images, size, zoom, workers=workers, ahead=2 * batch), shift, batch)

    def logits(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Logits ``[B, C]`` of squares uint8 ``[B,3,size,size]``, computed as the evaluation does."""
        with measuring(self.network, self.runtime):
            image = torch.from_numpy(pixels).to(self.runtime.device)
            return self.network(image).float().cpu().numpy()

    def _stream(self, found: Iterator[Square], shift: NDArray[np.float64] | None, batch: int) -> Iterator[Prediction]:
        waiting: list[Square] = []
        for square in found:
            waiting.append(square)
            if len(waiting) == batch:
                yield from self._predict(waiting, shift)
                waiting = []
        if waiting:
            yield from self._predict(waiting, shift)

    def _predict(self, part: list[Square], shift: NDArray[np.float64] | None) -> Iterator[Prediction]:
        readable = [square.pixels for square in part if square.pixels is not None]
        rows = iter(self._rows(np.stack(readable), shift)) if readable else iter(())
        for square in part:
            if square.pixels is None:
                empty = np.zeros(0, dtype=np.float32)
                yield Prediction(square.name, self.class_names, empty, empty.astype(np.float64), error=square.error)
            else:
                yield Prediction(square.name, self.class_names, *next(rows))

    def _rows(self, pixels: NDArray[np.uint8], shift: NDArray[np.float64] | None) -> Iterator[tuple[Any, ...]]:
        logits = self.logits(pixels)
        scaled = logits if self.calibration is None else self.calibration.temperature(logits)
        plain = softmax(scaled)
        shown = plain if shift is None else softmax(scaled + shift)
        if self.calibration is None:
            yield from zip(logits, shown, strict=True)
            return
        inside, answer_from = self.calibration.sets(plain), self.calibration.answer_from
        for number, order in enumerate(np.argsort(-plain, axis=1, kind="stable")):
            members = tuple(int(label) for label in order if inside[number, label])
            yield logits[number], shown[number], members, bool(plain[number].max() < answer_from)

    def _shift(self, prior: Any, model_prior: Any) -> NDArray[np.float64] | None:
        if prior is None:
            return None
        target = read_prior(prior, self.stats, self.class_names)
        if model_prior is None:
            source = logits_prior(self.recipe, self.stats)
        else:
            source = read_prior(model_prior, self.stats, self.class_names)
        return adjust_logits(np.zeros((1, self.stats.num_classes)), source, target)[0]


def load(run: Path | str, device: Literal["auto", "cpu", "cuda"] = "auto") -> Predictor:
    """A finished run, ready to predict: ``tailwise.load("runs/pets").predict(["cat.jpg"])``.

    Raises:
        RunError: No finished run there, or weights that do not fit its recipe.
        DataError: The run's calibration is damaged or of another run.
    """
    return Predictor(run, device)


def _listed(images: Any) -> list[ImageLike]:
    one = isinstance(images, str | Path | Image.Image | np.ndarray)
    if not one and not isinstance(images, Iterable):
        raise DataError(f"expected images or an image, got {type(images).__name__}")
    many: list[Any] = [images] if one else list(images)
    found: list[ImageLike] = []
    for image in many:
        found += find_images([image]) if isinstance(image, str | Path) and Path(image).is_dir() else [image]
    return found
