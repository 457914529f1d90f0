"""The loss of diverse experts: one loss for each of them, and a reward for differing from the mean (wang2021ride)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from tailwise.core.checks import finite, positive, within
from tailwise.core.registry import register
from tailwise.core.spec import frozen
from tailwise.core.stats import ClassStats
from tailwise.core.types import MixedTarget, Part, Target
from tailwise.losses.base import Loss
from tailwise.losses.ldam import LDAM
from tailwise.objectives.base import BoundObjective, Objective
from tailwise.objectives.per_expert import by_expert, count_experts


@register("ride", paper="wang2021ride")
@frozen
class Ride(Objective):
    r"""Individual losses with a distribution-aware diversity loss.

    .. math:: \sum_e \ell(z_e, y) + \lambda\, \bar{T}^2 \sum_e \frac{1}{B}\sum_b \mathrm{KL}\Big(
        \mathrm{softmax}\frac{\bar{z}}{T} \,\Big\|\, \mathrm{softmax}\frac{z_e}{T}\Big)

    with the mean logits :math:`\bar{z}` of all experts, through which no gradient flows, a temperature :math:`T_c` for
    each class, its mean :math:`\bar{T}`, and :math:`\lambda < 0`. The temperatures are :math:`T_c = T_0 u_c / \max u`
    with :math:`u_c = \gamma C n_c / N + 1 - \gamma`: the larger :math:`\gamma`, the more the rare classes count.

    This is the form of the authors' published code. The paper's own equations have not been compared with it: to our
    knowledge they compare experts with each other and bring the largest :math:`u_c` to 1 by adding a constant, where
    the code compares with the mean, which it calls nearly the same, and divides. The code has :math:`\lambda = -0.2`
    for all data sets (issue threads name -0.45 for CIFAR-100), :math:`\gamma = 0` for the first 160 of 200 epochs and
    :math:`\gamma` = 0.05 (0.02 on ImageNet-LT) with class weights in the rest; see the recipe ``ride``. The individual
    loss's margin is in units of the logits, that is of cosines times the scale of the head.

    With mixed targets the individual loss is mixed; the diversity does not depend on labels.

    Args:
        loss: :math:`\ell`.
        reduction: Of the individual loss; the code's class weights have ``weighted_mean``.
        diversity: :math:`\lambda`, usually below 0; 0 leaves the diversity out (the authors' code then trains the mean
            of the experts; this one still trains each of them).
        temperature: :math:`T_0`, above 0.
        spread: :math:`\gamma`, in [0, 1].
        stream: The stream whose rows and targets it reads.

    Raises:
        ValueError: A value is out of range.
    """

    loss: Loss = LDAM(max_margin=15.0, scale=1.0)
    reduction: Literal["mean", "weighted_mean"] = "mean"
    diversity: float = -0.2
    temperature: float = 1.0
    spread: float = 0.0
    stream: str = "main"

    def __post_init__(self) -> None:
        """Checks the ranges."""
        finite("diversity", self.diversity)
        positive("temperature", self.temperature)
        within("spread", self.spread, 0, 1)

    @property
    def streams(self) -> tuple[str, ...]:
        """The one stream."""
        return (self.stream,)

    def reads(self, names: Sequence[str]) -> tuple[str, ...]:
        """The logits of every expert; of a head without experts its main logits."""
        return tuple(f"expert{number}" for number in range(count_experts(names))) or ("main",)

    def bind(self, stats: ClassStats) -> BoundObjective:
        """The module for these class counts."""
        return _BoundRide(self, stats)


class _BoundRide(BoundObjective):
    def __init__(self, objective: Ride, stats: ClassStats) -> None:
        super().__init__()
        self.spec = objective
        self.loss = objective.loss.bind(stats, objective.reduction)
        self.needs_features = objective.loss.needs_features
        share = torch.tensor(stats.counts.tolist(), dtype=torch.float64, device="cpu") / stats.num_images
        relative = objective.spread * stats.num_classes * share + 1 - objective.spread
        temperature = objective.temperature * relative / relative.max()
        self.factor = float(temperature.mean()) ** 2
        self.register_buffer("temperature", temperature.float(), persistent=False)

    def forward(
        self, outputs: Mapping[str, Tensor], targets: Mapping[str, Target], rows: Mapping[str, tuple[int, int]]
    ) -> dict[str, Part]:
        start, end = rows[self.spec.stream]
        target = targets[self.spec.stream]
        seen = by_expert(outputs)
        logits = [own["main"][start:end] for own in seen]
        features = [own["features"][start:end] if self.needs_features else None for own in seen]
        individual = [self._individual(*both, target) for both in zip(logits, features, strict=True)]
        # Weights depend on the labels only, so all experts share one denominator.
        numerator, denominator = torch.stack([part for part, _ in individual]).sum(), individual[0][1]
        found = {f"{self.spec.stream}/{self.spec.loss.name}": Part(numerator, denominator, 1.0)}
        if self.spec.diversity and len(logits) > 1:
            found[f"{self.spec.stream}/diversity"] = self._diversity(torch.stack(logits))
        return found

    def _individual(self, logits: Tensor, features: Tensor | None, target: Target) -> tuple[Tensor, Tensor]:
        if not isinstance(target, MixedTarget):
            return self.loss.parts(logits, target, features=features)
        first = self.loss.parts(logits, target.first, target.lam, features)
        second = self.loss.parts(logits, target.second, 1 - target.lam, features)
        return first[0] + second[0], first[1] + second[1]

    def _diversity(self, logits: Tensor) -> Part:
        """The divergences of ``E`` experts ``[E, B, C]`` from their mean."""
        logits = logits if logits.dtype == torch.float64 else logits.float()
        temperature = self.get_buffer("temperature").to(logits.dtype)
        with torch.no_grad():
            mean = F.log_softmax(logits.mean(0) / temperature, dim=-1).expand_as(logits)
        own = F.log_softmax(logits / temperature, dim=-1)
        divergence = F.kl_div(own, mean, reduction="sum", log_target=True)
        count = logits.new_full((), logits.shape[1])
        return Part(self.factor * divergence, count, self.spec.diversity)
