"""A head of its own for each expert of a network; predictions are averaged (wang2021ride, Sec. 3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tailwise.core.errors import TailwiseError
from tailwise.core.registry import register
from tailwise.core.spec import frozen
from tailwise.core.stats import ClassStats
from tailwise.heads.base import Head, HeadModule
from tailwise.heads.linear import Linear, LinearModule


class ExpertsModule(HeadModule):
    """Each inner head reads its share of the channels, expert after expert.

    Args:
        inner: A head for each expert, built for its share of the channels.
    """

    def __init__(self, inner: Sequence[HeadModule]) -> None:
        super().__init__()
        self.inner = nn.ModuleList(inner)

    @property
    def heads(self) -> list[HeadModule]:
        """The inner heads."""
        return [head for head in self.inner if isinstance(head, HeadModule)]

    @property
    def names(self) -> tuple[str, ...]:
        """``main``, ``expert0`` and so on; of inner heads with more outputs also ``expert0/<name>``."""
        numbered = enumerate(self.heads)
        return ("main", *(expert_output(number, name) for number, head in numbered for name in head.names))

    @property
    def branches(self) -> tuple[str, ...]:
        """The experts, each of which an evaluation also measures alone."""
        return tuple(expert_output(number, "main") for number in range(len(self.inner)))

    def forward(self, maps: Tensor) -> dict[str, Tensor]:
        """``main``, the mean of the experts' predictions ``[B, C]``, and all outputs of every expert.

        Args:
            maps: ``[B, E D, h, w]`` or ``[B, E D]``.
        """
        outputs: dict[str, Tensor] = {}
        predictions: list[Tensor] = []
        heads = self.heads
        for number, (head, part) in enumerate(zip(heads, maps.chunk(len(heads), dim=1), strict=True)):
            own = head(part)
            predictions.append(head.predict(own))
            outputs |= {expert_output(number, name): value for name, value in own.items()}
        return {"main": torch.stack(predictions).mean(0), **outputs}

    @property
    def classifier_weight(self) -> Tensor:
        """Class vectors of all experts side by side over their number, ``[C, E D]``.

        With linear inner heads, the product with the features of all experts is the mean prediction without its bias,
        so a class activation map is the mean of the experts' maps.
        """
        return torch.cat([head.classifier_weight for head in self.heads], dim=1) / len(self.inner)

    def for_export(self) -> HeadModule:
        """One linear head on the features of all experts, where each expert's exported head is linear with a bias."""
        inner = [head.for_export() for head in self.heads]
        layers = [head.fc for head in inner if type(head) is LinearModule and _has_bias(head.fc)]
        if len(layers) < len(inner):
            return ExpertsModule(inner).train(self.training)
        with torch.no_grad():
            weight = torch.cat([layer.weight for layer in layers], dim=1) / len(layers)
            merged = LinearModule(weight.shape[1], weight.shape[0], bias=True).to(weight)
            merged.fc.weight.copy_(weight)
            merged.fc.bias.copy_(torch.stack([layer.bias for layer in layers]).mean(0))
        return merged.train(self.training)


def _has_bias(layer: nn.Linear) -> bool:
    return "bias" in dict(layer.named_parameters())


def expert_output(number: int, name: str) -> str:
    """What the head calls an output of one expert: ``expert0`` for ``main``, ``expert0/<name>`` for another."""
    return f"expert{number}" if name == "main" else f"expert{number}/{name}"


def check_same_experts(head: Head, backbone: nn.Module) -> None:
    """Refuses a head for several experts on a backbone with another number of them.

    A head without experts is allowed everywhere: it then is one classifier on the features of all experts.

    Raises:
        TailwiseError: Names both numbers.
    """
    there = int(getattr(backbone, "num_experts", 1))
    if isinstance(head, Experts) and head.num_experts != there:
        raise TailwiseError(
            f"head 'experts' is for {head.num_experts} experts and the backbone has {there}; give both the same number "
            f"(head.num_experts={there})"
            if there > 1
            else f"head 'experts' is for {head.num_experts} experts and the backbone has none; take one such as "
            "ride_resnet32"
        )


@register("experts", paper="wang2021ride")
@frozen
class Experts(Head):
    """One head for each expert of a backbone such as ``ride_resnet32``; at test time their predictions are averaged.

    The paper's code averages the logits, scaled cosines in RIDE; the code of cui2022reslt does the same with the
    logits of its heads.

    Args:
        inner: The head of each expert.
        num_experts: ``E``, as many as the backbone has.

    Raises:
        ValueError: Fewer than one expert, experts of experts, or (when it is built) features that cannot be shared
            evenly.
    """

    inner: Head = Linear()
    num_experts: int = 3

    def __post_init__(self) -> None:
        """Checks the number."""
        if self.num_experts < 1:
            raise ValueError(f"num_experts must be at least 1, got {self.num_experts}")
        if isinstance(self.inner, Experts):
            raise ValueError("inner must be the head of a single expert, got experts")

    def build(self, num_features: int, num_classes: int, stats: ClassStats | None = None) -> ExpertsModule:
        """A new module with freshly drawn inner heads."""
        if num_features % self.num_experts:
            raise ValueError(
                f"{num_features} features cannot be shared by {self.num_experts} experts; take a backbone with as many "
                "experts, such as ride_resnet32"
            )
        width = num_features // self.num_experts
        return ExpertsModule([self.inner.build(width, num_classes, stats) for _ in range(self.num_experts)])
