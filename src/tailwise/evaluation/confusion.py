"""What an evaluation counts while it runs, on the device and summed over ranks once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.classification import MulticlassConfusionMatrix

from tailwise.core.errors import DataError

NUM_BINS = 15
TOP_K = 5


@dataclass(frozen=True)
class Reliability:
    """Confidence against accuracy in equal-width bins of the largest softmax probability.

    Attributes:
        edges: Bin edges from 0 to 1, shape ``[bins + 1]``.
        accuracy: Share of right predictions per bin, shape ``[bins]``; NaN in an empty bin.
        confidence: Mean confidence per bin, shape ``[bins]``; NaN in an empty bin.
        count: Images per bin, shape ``[bins]``.
    """

    edges: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    confidence: NDArray[np.float64]
    count: NDArray[np.int64]

    @property
    def expected_calibration_error(self) -> float:
        r"""``sum_b |accuracy_b - confidence_b| count_b / N`` as a fraction (Guo et al. 2017, Eq. 3)."""
        filled = self.count > 0
        gap = np.abs(self.accuracy[filled] - self.confidence[filled])
        return float(gap @ self.count[filled] / self.count.sum())

    def to_plain(self) -> dict[str, list[Any]]:
        """Lists for JSON; ``None`` where a bin is empty."""
        return {
            "edges": self.edges.tolist(),
            "accuracy": [value if np.isfinite(value) else None for value in self.accuracy.tolist()],
            "confidence": [value if np.isfinite(value) else None for value in self.confidence.tolist()],
            "count": self.count.tolist(),
        }


@dataclass(frozen=True)
class Evaluation:
    """Everything that the measures and plots of one evaluation derive from.

    Attributes:
        confusion: Images per (true class, predicted class), int64 ``[C, C]``, rows are the true class.
        top5_hits: Images whose true class is among the five largest logits (among all when there are fewer classes).
        nll: Mean negative log-likelihood of the true class in nats.
        ece: Expected calibration error as a fraction, 15 bins, L1 norm.
        reliability: The bins behind ``ece``.
    """

    confusion: NDArray[np.int64]
    top5_hits: int
    nll: float
    ece: float
    reliability: Reliability

    @property
    def num_images(self) -> int:
        """Number of evaluated images."""
        return int(self.confusion.sum())


class Accumulator:
    """Collects logits batch by batch; ranks may see slices of any length and nothing is padded.

    The calibration error is that of ``torchmetrics.classification.MulticlassCalibrationError``, kept as sums per bin:
    they take constant memory and are what a reliability diagram needs, while that class keeps every confidence until
    the end. One deviation from it: a confidence of exactly 1 belongs to the last bin (as in Guo et al. 2017), not to a
    sixteenth bin of its own.

    Args:
        num_classes: Number of classes ``C``.
        device: Where the logits are.
    """

    def __init__(self, num_classes: int, device: torch.device | str = "cpu") -> None:
        self.num_classes = num_classes
        self._device = torch.device(device)
        self._confusion = MulticlassConfusionMatrix(num_classes, validate_args=False).to(self._device)
        self._sums = _Sums().to(self._device)

    def update(self, logits: Tensor, target: Tensor) -> None:
        """Counts one batch without a host synchronisation.

        Args:
            logits: Shape ``[B, C]``; computed with in float32.
            target: True labels in ``[0, C)``, shape ``[B]``.

        Raises:
            DataError: The shapes do not belong together.
        """
        if logits.ndim != 2 or logits.shape[1] != self.num_classes or target.shape != logits.shape[:1]:
            raise DataError(
                f"expected logits [B, {self.num_classes}] and labels [B], "
                f"got {list(logits.shape)} and {list(target.shape)}"
            )
        logits = logits.detach().float()
        self._confusion.update(logits.argmax(dim=1), target)
        self._sums.update(logits, target)

    def compute(self) -> Evaluation:
        """Sums over all ranks (every rank must call it) and returns the same numbers on each.

        Raises:
            DataError: No rank has seen an image.
        """
        if self._sums.update_count == 0:  # a rank whose slice is empty still takes part in the sum
            self.update(
                torch.empty(0, self.num_classes, device=self._device),
                torch.empty(0, dtype=torch.int64, device=self._device),
            )
        confusion: NDArray[np.int64] = self._confusion.compute().cpu().numpy().astype(np.int64)
        sums: dict[str, NDArray[Any]] = {name: value.cpu().numpy() for name, value in self._sums.compute().items()}
        total = int(confusion.sum())
        if total == 0:
            raise DataError("there is no image to evaluate")
        count = sums["count"].astype(np.int64)
        with np.errstate(invalid="ignore"):
            bins = Reliability(
                edges=np.linspace(0.0, 1.0, NUM_BINS + 1),
                accuracy=sums["hits"] / count,
                confidence=sums["confidence"] / count,
                count=count,
            )
        return Evaluation(
            confusion=confusion,
            top5_hits=int(sums["top_k"]),
            nll=float(sums["nll"]) / total,
            ece=bins.expected_calibration_error,
            reliability=bins,
        )


class _Sums(Metric):
    """Sums of log-likelihood, top-k hits and calibration bins; torchmetrics adds them over ranks."""

    full_state_update: bool | None = False
    nll: Tensor
    top_k: Tensor
    count: Tensor
    hits: Tensor
    confidence: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("nll", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("top_k", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros(NUM_BINS, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("hits", torch.zeros(NUM_BINS, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("confidence", torch.zeros(NUM_BINS, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, logits: Tensor, target: Tensor) -> None:
        self.nll += F.cross_entropy(logits, target, reduction="none").double().sum()
        best = logits.topk(min(TOP_K, logits.shape[1]), dim=1).indices
        self.top_k += (best == target[:, None]).sum()
        confidence, predicted = logits.softmax(dim=1).max(dim=1)
        edges = torch.linspace(0, 1, NUM_BINS + 1, device=logits.device)
        # A bin holds its lower edge; the last one also holds 1 (and NaN, which then shows in its mean).
        where = (torch.bucketize(confidence, edges, right=True) - 1).clamp(0, NUM_BINS - 1)
        self.count.index_add_(0, where, torch.ones_like(where))
        self.hits.index_add_(0, where, (predicted == target).long())
        self.confidence.index_add_(0, where, confidence.double())

    def compute(self) -> dict[str, Tensor]:
        return {name: getattr(self, name) for name in ("nll", "top_k", "count", "hits", "confidence")}
