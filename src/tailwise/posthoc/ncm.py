"""Nearest class mean: the class whose mean training feature is nearest (kang2020decoupling, Sec. 4)."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from tailwise.core.errors import DataError
from tailwise.core.registry import register
from tailwise.core.spec import frozen
from tailwise.core.stats import ClassStats
from tailwise.heads.base import HeadModule
from tailwise.posthoc.base import PostHoc, TrainingFeatures

Form = Literal["raw", "normalized", "centered"]

#: Rows that are raised to float64 at a time.
ROWS = 1 << 16


class NCMModule(HeadModule):
    """Similarity of pooled features to fixed class means; computed in float32 or above whatever the autocast.

    Args:
        means: Mean of the transformed features of every class, ``[C, D]``.
        center: What is subtracted from features, ``[D]``.
        normalize: Whether features are brought to unit length after that.
        cosine: Cosine similarity, or else the negative squared Euclidean distance.
    """

    weight: Tensor
    bias: Tensor
    center: Tensor

    def __init__(self, means: Tensor, center: Tensor, *, normalize: bool, cosine: bool) -> None:
        super().__init__()
        self.normalize = normalize or cosine
        # |x - m|^2 = |x|^2 - (2 m x - |m|^2), and |x|^2 is the same for all classes.
        weight = F.normalize(means, dim=1) if cosine else 2 * means
        bias = torch.zeros_like(means[:, 0]) if cosine else -means.square().sum(1)
        dtype = torch.promote_types(center.dtype, torch.float32)
        for name, value in (("weight", weight), ("bias", bias), ("center", center)):
            self.register_buffer(name, value.to(dtype))

    def forward(self, maps: Tensor) -> dict[str, Tensor]:
        """``{"main": [B, C]}`` from ``[B, D, h, w]`` or ``[B, D]``."""
        with torch.autocast(maps.device.type, enabled=False):
            features = self.pool(maps).to(self.weight.dtype) - self.center
            features = F.normalize(features, dim=1) if self.normalize else features
            return {"main": F.linear(features, self.weight, self.bias)}

    @property
    def classifier_weight(self) -> Tensor:
        """What multiplies the transformed features, shape ``[C, D]``; it has no gradient."""
        return self.weight


@register(
    "ncm",
    paper="kang2020decoupling",
    presets={"ncm_official": {"similarity": "euclidean", "features": "centered"}},
)
@frozen
class NCM(PostHoc):
    r"""Nearest class mean: every image goes to the class whose mean training feature is most similar to its own.

    The paper names two forms: cosine similarity to the means, and the Euclidean distance to means of unit length, which
    gives the same ranking. Its code subtracts the mean of all training features, brings every feature to unit length,
    takes class means of these and the Euclidean distance to them: the preset ``ncm_official``.

    The logits are cosines, or negative squared distances up to a number that is the same for all classes. Probabilities
    computed from them (ECE, NLL) mean little.

    Args:
        similarity: ``cosine``, or ``euclidean`` for the negative squared distance.
        features: Before the means are taken, and at test time: ``raw`` as they are, ``normalized`` to unit length, or
            ``centered`` by the mean over the training images and then normalised.

    Raises:
        ValueError: One of them is not among its choices.
    """

    needs_features: ClassVar[bool] = True

    similarity: Literal["cosine", "euclidean"] = "cosine"
    features: Form = "raw"

    def __post_init__(self) -> None:
        """Checks both choices."""
        if self.similarity not in ("cosine", "euclidean"):
            raise ValueError(f"similarity must be cosine or euclidean, got {self.similarity!r}")
        if self.features not in ("raw", "normalized", "centered"):
            raise ValueError(f"features must be raw, normalized or centered, got {self.features!r}")

    def apply(self, head: HeadModule, stats: ClassStats, features: TrainingFeatures | None = None) -> HeadModule:
        """Class means instead of the head; see :meth:`tailwise.posthoc.base.PostHoc.apply`.

        Raises:
            DataError: There are no features, or a class has none.
        """
        if features is None:
            raise DataError("ncm needs the features of the training images")
        size = torch.bincount(features.labels, minlength=stats.num_classes)
        empty = torch.nonzero(size == 0).flatten().tolist()
        if empty:
            raise DataError(f"{len(empty)} of {stats.num_classes} classes have no features (labels {empty[:10]})")
        width = features.values.shape[1]
        center = torch.zeros(width, dtype=torch.float64, device=features.values.device)
        if self.features == "centered":
            center = torch.stack([part.double().sum(0) for part in features.values.split(ROWS)]).sum(0) / size.sum()
        sums = torch.zeros(stats.num_classes, width, dtype=torch.float64, device=center.device)
        for values, labels in zip(features.values.split(ROWS), features.labels.split(ROWS), strict=True):
            moved = values.double() - center
            sums.index_add_(0, labels, moved if self.features == "raw" else F.normalize(moved, dim=1))
        means = sums / size[:, None]
        module = NCMModule(means, center, normalize=self.features != "raw", cosine=self.similarity == "cosine")
        return module.to(torch.promote_types(features.values.dtype, torch.float32))
