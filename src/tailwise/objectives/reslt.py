"""Fusion loss and branch losses on nested groups of classes (cui2022reslt, Eq. 1 to 3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tailwise.core.checks import within
from tailwise.core.groups import Groups
from tailwise.core.registry import register
from tailwise.core.spec import frozen
from tailwise.core.stats import ClassStats
from tailwise.core.types import MixedTarget, Part, Target
from tailwise.heads.reslt import branch_names
from tailwise.objectives.base import BoundObjective, Objective

Assignment = Literal["nested", "main_and_disjoint", "disjoint", "everything"]


@register("reslt", paper="cui2022reslt")
@frozen
class ResLT(Objective):
    r"""The loss of residual branches, :math:`(1 - \alpha) L_{fusion} + \alpha L_{branch}` (Eq. 3).

    :math:`L_{fusion}` is the cross-entropy of the head's ``main`` logits, its sum of branches (Eq. 1).
    :math:`L_{branch}` is the cross-entropy of every branch on those images of the batch whose class belongs to it
    (Eq. 2). Groups come from the class counts; classes keep their labels.

    Two differences between print and code: Eq. 2 adds the means of the branches (``sum_of_means``), the code divides
    the sum over all branches by the number of all terms (``pooled``, the default, which its numbers come from). And the
    code has :math:`-\log(p + 10^{-7})` in the branch losses (``epsilon``), not in the fusion loss; Eq. 2 is
    ``epsilon=0``.

    A branch without images in a batch adds nothing. With mixed targets a term counts by the share of its label, in the
    numerator and in the denominator.

    Raises:
        ValueError: ``alpha`` outside [0, 1], ``branches`` outside 2 to 5, or ``epsilon`` outside [0, 0.1].
    """

    alpha: float = 0.995
    """Share of the branch losses in the total, from 0 to 1."""
    branches: int = 3
    """As many as the head has, from 2 to 5."""
    groups: Groups = Groups()
    """How classes are divided into as many groups as there are branches."""
    assignment: Assignment = "nested"
    """nested: branch k learns groups k and above; disjoint: group k (Algorithm 1, Fig. 2 (b)); main_and_disjoint:
    the first branch all classes, the others one group each (Fig. 2 (a)); everything: all classes each (Fig. 2 (c))."""
    reduction: Literal["pooled", "sum_of_means"] = "pooled"
    """pooled: one mean over the terms of all branches (code); sum_of_means: Eq. 2."""
    epsilon: float = 1e-7
    """Added to the probability inside the logarithm of the branch losses; 0 as printed."""
    stream: str = "main"
    """The stream whose rows and targets it reads."""

    def __post_init__(self) -> None:
        """Checks the ranges."""
        within("alpha", self.alpha, 0, 1)
        within("branches", self.branches, 2, 5)
        within("epsilon", self.epsilon, 0, 0.1)

    @property
    def streams(self) -> tuple[str, ...]:
        """The one stream."""
        return (self.stream,)

    @property
    def heads(self) -> tuple[str, ...]:
        """The fused logits and those of every branch."""
        return ("main", *branch_names(self.branches))

    def classes_of_branches(self, stats: ClassStats) -> NDArray[np.bool_]:
        """Whether a class belongs to a branch, ``[K, C]``.

        Raises:
            DataError: As :meth:`tailwise.core.groups.Groups.assign`.
        """
        group, branch = self.groups.assign(stats, self.branches)[None, :], np.arange(self.branches)[:, None]
        if self.assignment == "nested":
            return group >= branch
        if self.assignment == "everything":
            return np.ones((self.branches, stats.num_classes), dtype=bool)
        return (group == branch) | ((branch == 0) & (self.assignment == "main_and_disjoint"))

    def bind(self, stats: ClassStats) -> BoundObjective:
        """The module for these class counts.

        Raises:
            DataError: As :meth:`tailwise.core.groups.Groups.assign`.
        """
        return _BoundResLT(self, stats)


class _BoundResLT(BoundObjective):
    belongs: Tensor

    def __init__(self, objective: ResLT, stats: ClassStats) -> None:
        super().__init__()
        self.spec = objective
        # Read by label: [C, K].
        with torch.device("cpu"):
            belongs = torch.from_numpy(objective.classes_of_branches(stats).T.copy())
        self.register_buffer("belongs", belongs, persistent=False)

    def forward(
        self, outputs: Mapping[str, Tensor], targets: Mapping[str, Target], rows: Mapping[str, tuple[int, int]]
    ) -> dict[str, Part]:
        spec = self.spec
        start, end = rows[spec.stream]
        target = targets[spec.stream]
        pairs = _pairs(target, end - start)
        found: dict[str, Part] = {}
        if spec.alpha < 1:
            log = _log_probability(outputs["main"][start:end])
            losses = [(share, -_of_label(log, label)) for label, share in pairs]
            numerator = torch.stack([(share.to(loss) * loss).sum() for share, loss in losses]).sum()
            found[f"{spec.stream}/fusion"] = Part(numerator, numerator.new_full((), end - start), 1 - spec.alpha)
        if spec.alpha > 0:
            found |= self._branch_parts(torch.stack([outputs[name][start:end] for name in spec.heads[1:]], 1), pairs)
        return found

    def _branch_parts(self, logits: Tensor, pairs: list[tuple[Tensor, Tensor]]) -> dict[str, Part]:
        """Parts of the branch losses from logits ``[B, K, C]``."""
        spec, log = self.spec, _log_probability(logits)
        numerator, denominator = log.new_zeros(logits.shape[1]), log.new_zeros(logits.shape[1])
        for label, share in pairs:
            own = _of_label(log, label[:, None].expand(-1, logits.shape[1]))
            loss = -(own.exp() + spec.epsilon).log() if spec.epsilon else -own
            weight = self.belongs[label].to(log) * share.to(log)[:, None]
            numerator, denominator = numerator + (weight * loss).sum(0), denominator + weight.sum(0)
        if spec.reduction == "pooled":
            return {f"{spec.stream}/branches": Part(numerator.sum(), denominator.sum(), spec.alpha)}
        return {
            f"{spec.stream}/{name}": Part(numerator[number], denominator[number], spec.alpha)
            for number, name in enumerate(spec.heads[1:])
        }


def _pairs(target: Target, size: int) -> list[tuple[Tensor, Tensor]]:
    """Labels and the share of each, ``[B]`` both."""
    if isinstance(target, MixedTarget):
        return [(target.first, target.lam), (target.second, 1 - target.lam)]
    return [(target, torch.ones(size, device=target.device))]


def _log_probability(logits: Tensor) -> Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)


def _of_label(log: Tensor, label: Tensor) -> Tensor:
    return log.gather(-1, label.long().unsqueeze(-1)).squeeze(-1)
