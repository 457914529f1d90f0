"""Residual branches on shared features with one classifier for all of them (cui2022reslt, Sec. 3.2)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, cast

import torch
from torch import Tensor, nn

from tailwise.core.checks import within
from tailwise.core.errors import TailwiseError
from tailwise.core.registry import register
from tailwise.core.spec import frozen
from tailwise.core.stats import ClassStats
from tailwise.heads.base import Head, HeadModule
from tailwise.heads.branches import BranchConv, BranchNorm, ConvBnRelu, GroupedConv, PoolOrder, SeparateConv
from tailwise.heads.linear import LinearModule

Branch = Literal["batch_norm", "grouped_conv", "separate_conv", "conv_bn_relu"]
Fusion = Literal["sum", "main", "max", "probabilities"]


def branch_names(branches: int) -> tuple[str, ...]:
    """Names of the logits of K branches: ``branch0`` is the main branch, the others are the residual ones."""
    return tuple(f"branch{number}" for number in range(branches))


class ResLTModule(HeadModule):
    """``K`` branches of features and a linear layer ``fc`` that all of them share.

    Args:
        num_features: ``D``.
        num_classes: ``C``.
        spec: The hyper-parameters.
    """

    def __init__(self, num_features: int, num_classes: int, spec: ResLT) -> None:
        super().__init__()
        self.num_branches, self.fusion = spec.branches, spec.fusion
        self.transform: BranchNorm | BranchConv
        if spec.branch == "batch_norm":
            pooled = spec.pool == "before"
            self.transform = BranchNorm(num_features, spec.branches, specialized=spec.specialized, pooled=pooled)
        elif spec.branch == "grouped_conv":
            self.transform = GroupedConv(num_features, spec.branches, specialized=spec.specialized)
        elif spec.branch == "separate_conv":
            self.transform = SeparateConv(num_features, spec.branches)
        else:
            self.transform = ConvBnRelu(num_features, spec.branches, specialized=spec.specialized, pool=spec.pool)
        self.fc = nn.Linear(num_features, num_classes, bias=spec.bias)

    @property
    def names(self) -> tuple[str, ...]:
        """``main``, then one name for every branch."""
        return ("main", *self.branches)

    @property
    def branches(self) -> tuple[str, ...]:
        """Logits that an evaluation also measures alone."""
        return branch_names(self.num_branches)

    def forward(self, maps: Tensor) -> dict[str, Tensor]:
        """``main`` (the fused logits) and ``branch0`` ..., each ``[B, C]``, from ``[B, D, h, w]`` or ``[B, D]``."""
        if maps.ndim not in (2, 4):
            self.pool(maps)  # refuses it
        return self._named(self.fc(self.transform(maps)))

    def _named(self, logits: Tensor) -> dict[str, Tensor]:
        """Logits ``[..., K, C]`` by name, each ``[..., C]``."""
        named = {name: logits.select(-2, number) for number, name in enumerate(self.branches)}
        return {"main": self._fused(logits), **named}

    def _fused(self, logits: Tensor) -> Tensor:
        if self.fusion == "sum":
            return logits.sum(-2)
        if self.fusion == "main":
            return logits.select(-2, 0)
        if self.fusion == "max":
            return logits.amax(-2)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        return logits.log_softmax(-1).logsumexp(-2) - math.log(self.num_branches)

    @classmethod
    def forward_stacked(cls, heads: Sequence[HeadModule], maps: Tensor) -> dict[str, Tensor]:
        """What :meth:`forward` gives for each head, ``[B, N, C]`` by name; BatchNorm branches together."""
        modules = [head for head in heads if type(head) is ResLTModule]
        norms = [head.transform for head in modules if type(head.transform) is BranchNorm]
        if len(norms) < len(heads) or not all(_alike(norms[0], norm) for norm in norms):
            return super().forward_stacked(heads, maps)
        first = modules[0]
        biases: list[Tensor] = [head.fc.bias for head in modules if cast("Tensor | None", head.fc.bias) is not None]
        if len(biases) not in (0, len(heads)) or any(head.fusion != first.fusion for head in modules):
            return super().forward_stacked(heads, maps)
        features = BranchNorm.together(norms, maps)
        size, stack, branches, width = features.shape
        flat = features.transpose(0, 1).reshape(stack, size * branches, width)
        weight = torch.stack([head.fc.weight for head in modules]).transpose(1, 2)
        logits = torch.baddbmm(torch.stack(biases).unsqueeze(1), flat, weight) if biases else torch.bmm(flat, weight)
        return first._named(logits.unflatten(1, (size, branches)).transpose(0, 1))

    @property
    def classifier_weight(self) -> Tensor:
        """What multiplies pooled features to give the fused logits in evaluation mode, shape ``[C, D]``.

        It is the classifier times the sum of what the branches do to the features, or times that of the main branch
        where only that one predicts. A rectifier is left out, so with ``conv_bn_relu`` it is an approximation, as it is
        with the fusions ``max`` and ``probabilities``.
        """
        matrix, _ = self.transform.affine_maps()
        return self.fc.weight @ (matrix[0] if self.fusion == "main" else matrix.sum(0))

    @property
    def can_fold(self) -> bool:
        """Whether the branches and their fusion come to one affine map, so that :meth:`fold` works."""
        return not isinstance(self.transform, ConvBnRelu) and self.fusion in ("sum", "main")

    def for_export(self) -> HeadModule:
        """The folded head where the branches can be folded, else this one."""
        return self.fold() if self.can_fold else self

    def fold(self) -> LinearModule:
        """The linear head that predicts what this one predicts in evaluation mode; shares nothing with it.

        Raises:
            TailwiseError: The branches have a rectifier, or are not fused by their sum or their main branch.
        """
        if not self.can_fold:
            what = (
                "branches with a rectifier" if isinstance(self.transform, ConvBnRelu) else f"the fusion {self.fusion}"
            )
            raise TailwiseError(
                f"{what} cannot be folded into one linear classifier; batch_norm and plain convolutions fused by sum "
                "or main can"
            )
        used = slice(0, 1) if self.fusion == "main" else slice(None)
        with torch.no_grad():
            matrix, shift = (item[used].double().sum(0) for item in self.transform.affine_maps())
            weight = self.fc.weight.double()
            bias = weight @ shift
            own = cast("Tensor | None", self.fc.bias)
            if own is not None:
                bias = bias + own.double() * (1 if self.fusion == "main" else self.num_branches)
            folded = LinearModule(weight.shape[1], weight.shape[0], bias=True).to(self.fc.weight)
            folded.fc.weight.copy_(weight @ matrix)
            folded.fc.bias.copy_(bias)
        return folded.train(self.training)


def _alike(one: BranchNorm, other: BranchNorm) -> bool:
    same = one.training == other.training and one.pooled == other.pooled and one.branches == other.branches
    return same and one.weight.shape == other.weight.shape


@register("reslt", paper="cui2022reslt")
@frozen
class ResLT(Head):
    r"""K branches on the shared features, one classifier for all, logits summed (Fig. 1(c) III).

    ``main`` is what predicts, the sum of ``branch0`` (the main branch, for all classes) and the residual branches
    ``branch1`` ... Which classes a branch is trained for is the business of the objective ``reslt``. The shared bias
    counts once for every branch, as in the authors' code.

    The paper has one 1x1 grouped convolution (``grouped_conv``) and does not say what its groups see; three groups of
    64 features are not possible, so every group sees all features here. The authors' code has BatchNorm layers on
    CIFAR (``batch_norm``, the default, which its numbers come from) and on full-size images an ordinary convolution to
    K times the features with BatchNorm and rectifier (``conv_bn_relu``), whose linear part is the same as that of
    ``grouped_conv``.

    Args:
        branches: :math:`K`, from 2 to 5.
        branch: What makes the features of a branch.
        fusion: How branches predict together: ``sum`` (Eq. 1); ``main``, the main branch alone (Fig. 2 (d)); ``max``
            over branches and ``probabilities``, the log of their mean: baselines (1) and (3) of Algorithm 1.
        specialized: Whether every branch has parameters of its own; without, all give the same logits (Fig. 2 (e)).
        pool: ``after`` the branches, ``before`` them, or ``official``: after in training and before in evaluation, as
            the authors' code does for ResNeXt and iNaturalist. Plain convolutions commute with pooling. With
            ``batch_norm``, ``before`` normalises by the statistics of pooled features.
        bias: Whether the classifier has a bias.

    Raises:
        ValueError: ``branches`` is out of range; shared separate convolutions; ``official`` order for branches whose
            order makes no difference in evaluation.
    """

    branches: int = 3
    branch: Branch = "batch_norm"
    fusion: Fusion = "sum"
    specialized: bool = True
    pool: PoolOrder = "after"
    bias: bool = True

    def __post_init__(self) -> None:
        """Checks the combination."""
        within("branches", self.branches, 2, 5)
        if self.branch == "separate_conv" and not self.specialized:
            raise ValueError("separate_conv has parameters for every branch; use grouped_conv with specialized=False")
        if self.pool == "official" and self.branch != "conv_bn_relu":
            raise ValueError(f"pool=official is for branch=conv_bn_relu, got branch={self.branch}")

    def build(self, num_features: int, num_classes: int, stats: ClassStats | None = None) -> ResLTModule:
        """A new module; the class counts are not used."""
        return ResLTModule(num_features, num_classes, self)
