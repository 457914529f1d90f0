"""What a head is: hyper-parameters that build a module from feature maps to named logits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from tailwise.core.registry import Slot
from tailwise.core.stats import ClassStats


class HeadModule(nn.Module, ABC):
    """Base of the modules that heads build: batch ``B``, feature width ``D``, map size ``h x w``, classes ``C``."""

    @abstractmethod
    def forward(self, maps: Tensor) -> dict[str, Tensor]:
        """Logits by name, ``"main"`` always among them.

        Args:
            maps: Feature maps ``[B, D, h, w]`` or pooled features ``[B, D]``.

        Returns:
            Tensors of shape ``[B, C]``; an auxiliary one may have another width.
        """

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the logits that :meth:`forward` returns."""
        return ("main",)

    @property
    def branches(self) -> tuple[str, ...]:
        """Those of the names whose class logits ``[B, C]`` an evaluation also measures alone; none by default."""
        return ()

    @property
    @abstractmethod
    def classifier_weight(self) -> Tensor:
        """The vector of every class that multiplies the features, shape ``[C, D]``, with its gradient."""

    def predict(self, outputs: Mapping[str, Tensor]) -> Tensor:
        """The logits to classify by at test time.

        Args:
            outputs: What :meth:`forward` returned.

        Returns:
            Shape ``[B, C]``.
        """
        return outputs["main"]

    def embed(self, pooled: Tensor) -> Tensor:
        """The features that the classifier multiplies, of pooled features ``[B, D]``; here these themselves."""
        return pooled

    def for_inference(self) -> HeadModule:
        """The head with nothing that :meth:`predict` does not read, on the same parameters; here the head itself."""
        return self

    def keep_extractor(self, before: HeadModule) -> None:
        """When a stage begins with a new head: takes over what belongs to the features, not to the classifier.

        Args:
            before: The head that this one replaces. Here nothing of it is kept.
        """

    def for_export(self) -> HeadModule:
        """The head that an exported network gets: one whose :meth:`predict` gives the same logits with less.

        A head overrides this where branches can be computed as one. The given head stays as it is; parameters may be
        shared with it. By default it is what :meth:`for_inference` gives.
        """
        return self.for_inference()

    @classmethod
    def forward_stacked(cls, heads: Sequence[HeadModule], maps: Tensor) -> dict[str, Tensor]:
        """Several heads at once, each on the features of its own network; gradients reach every head's parameters.

        Here each head computes its slice, which is right for any heads. A class whose forward pass is a matrix product
        overrides this with one batched product, for heads of exactly this class.

        Args:
            heads: ``K`` heads with the same names and widths.
            maps: Feature maps ``[B, K, D, h, w]`` or pooled features ``[B, K, D]``.

        Returns:
            What :meth:`forward` gives for each head, along dimension 1: ``[B, K, C]`` by name.
        """
        outputs = [head(maps[:, number]) for number, head in enumerate(heads)]
        return {name: torch.stack([output[name] for output in outputs], dim=1) for name in outputs[0]}

    @staticmethod
    def pool(maps: Tensor) -> Tensor:
        """Global average pooling ``[B, D, h, w]`` -> ``[B, D]``; pooled features pass unchanged.

        Raises:
            ValueError: Neither two nor four dimensions.
        """
        if maps.ndim == 2:
            return maps
        if maps.ndim != 4:
            raise ValueError(f"expected maps [B, D, h, w] or pooled features [B, D], got shape {list(maps.shape)}")
        return maps.mean(dim=(2, 3))

    @staticmethod
    def pool_stacked(maps: Tensor) -> Tensor:
        """Global average pooling ``[B, K, D, h, w]`` -> ``[B, K, D]``; pooled features pass unchanged.

        Raises:
            ValueError: Neither three nor five dimensions.
        """
        if maps.ndim == 3:
            return maps
        if maps.ndim != 5:
            raise ValueError(
                f"expected maps [B, K, D, h, w] or pooled features [B, K, D], got shape {list(maps.shape)}"
            )
        return maps.mean(dim=(3, 4))


class Head(Slot, ABC):
    """Base of all heads. A subclass is a frozen dataclass of hyper-parameters."""

    kind = "heads"

    @abstractmethod
    def build(self, num_features: int, num_classes: int, stats: ClassStats | None = None) -> HeadModule:
        """A new module with freshly drawn parameters (from torch's global generator).

        Args:
            num_features: Feature width ``D`` of the backbone.
            num_classes: ``C``.
            stats: The class counts, for heads that depend on them.
        """
