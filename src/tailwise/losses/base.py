"""What a loss is: two pure pieces (class terms and a loss per sample), and a named reduction that ``bind`` adds."""

from __future__ import annotations

import typing
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from tailwise.core.errors import UnknownName
from tailwise.core.registry import Slot
from tailwise.core.stats import ClassStats

#: ``mean`` divides the sum of the losses by the batch size, ``weighted_mean`` by the sum of the samples' weights.
Reduction = Literal["mean", "weighted_mean", "sum", "none"]


class Loss(Slot, ABC):
    """Base of all losses. A subclass is a frozen dataclass of hyper-parameters with one formula.

    Targets are hard labels; a mixed target is the business of the objective, which mixes two losses per sample.
    ``B`` is the batch size and ``C`` the number of classes.
    """

    kind = "losses"
    #: Adding one constant to all logits of a sample leaves its loss unchanged.
    shift_invariant: ClassVar[bool] = True
    #: The loss (its registry name) that this one equals, with default hyper-parameters, when all counts are equal.
    reduces_to: ClassVar[str | None] = "cross_entropy"
    #: :meth:`per_sample` also takes ``features``, the pooled features ``[B, D]`` that entered the classifier.
    needs_features: ClassVar[bool] = False

    def class_terms(self, counts: Tensor) -> dict[str, Tensor]:
        """Everything the formula needs that depends on the class counts only; computed once.

        Args:
            counts: Images per class, shape ``[C]``, float64.

        Returns:
            Tensors of shape ``[C]``, float64, by the names under which :meth:`per_sample` receives them.
        """
        return {}

    @abstractmethod
    def per_sample(self, logits: Tensor, target: Tensor, *args: Any, **terms: Any) -> Tensor:
        """The loss of every sample, its weight already applied.

        Args:
            logits: Shape ``[B, C]``, float32 or float64.
            target: Labels, shape ``[B]``, int64.
            args: None; it only lets subclasses name their terms.
            terms: What :meth:`class_terms` returned, in the logits' precision, and ``features`` in the same precision
                if the loss needs them.

        Returns:
            Shape ``[B]``.
        """

    def sample_weight(self, target: Tensor, *args: Any, **terms: Any) -> Tensor | None:
        """The weights whose sum is the denominator of ``weighted_mean``, shape ``[B]``; ``None`` stands for ones.

        Args:
            target: Labels, shape ``[B]``, int64.
            args: None; it only lets subclasses name their terms.
            terms: What :meth:`class_terms` returned, in the logits' precision.
        """
        return None

    def bind(self, counts: Any, reduction: Reduction = "mean") -> BoundLoss:
        """This loss for one data set: a module to use in any training loop.

        Args:
            counts: A :class:`~tailwise.core.stats.ClassStats`, or images per class as whole numbers, shape ``[C]``.
            reduction: How the losses of a batch become one number.

        Raises:
            DataError: The counts are not one whole number of at least 1 for each of two or more classes.
            UnknownName: No such reduction.
        """
        if not isinstance(counts, ClassStats):
            counts = ClassStats(counts.cpu() if isinstance(counts, Tensor) else counts)
        return BoundLoss(self, counts, reduction)


class BoundLoss(nn.Module):
    """A loss with its class terms and its reduction.

    The terms follow ``.to(device)``. They are computed in float64 and held in float32, also after ``.half()`` or
    ``.bfloat16()``; after ``.double()``, and for float64 logits, they have full float64 precision. They are not part
    of the state dict, because the counts determine them.

    Args:
        loss: The formula and its hyper-parameters.
        stats: The class counts.
        reduction: See :data:`Reduction`.

    Raises:
        UnknownName: No such reduction.
    """

    def __init__(self, loss: Loss, stats: ClassStats, reduction: Reduction = "mean") -> None:
        super().__init__()
        if reduction not in typing.get_args(Reduction):
            raise UnknownName("reduction", str(reduction), typing.get_args(Reduction))
        self.loss = loss
        self.stats = stats
        self.reduction: Reduction = reduction
        with torch.device("cpu"):
            terms = loss.class_terms(torch.tensor(stats.counts.tolist(), dtype=torch.float64))
        for name, term in terms.items():
            if term.shape != (stats.num_classes,):
                raise ValueError(f"class term {name!r} has shape {tuple(term.shape)}, expected ({stats.num_classes},)")
        self._exact: dict[str, Tensor] = {name: term.detach().to(torch.float64) for name, term in terms.items()}
        for name, term in self._exact.items():
            self.register_buffer(f"term_{name}", term.float(), persistent=False)

    def per_sample(self, logits: Tensor, target: Tensor, features: Tensor | None = None) -> Tensor:
        """The loss of every sample, shape ``[B]``, in float32, or float64 for float64 logits.

        Args:
            logits: Shape ``[B, C]``, any floating-point type; half precision is raised to float32 first.
            target: Labels, shape ``[B]``, any integer type.
            features: The pooled features that entered the classifier, shape ``[B, D]``, any floating-point type; only
                a loss that needs them reads them.

        Raises:
            ValueError: Shapes or types other than these, or the loss needs features and there are none.
        """
        logits, target = self._checked(logits, target)
        if not self.loss.needs_features:
            return self.loss.per_sample(logits, target, **self._terms(logits))
        features = self._checked_features(features, logits)
        return self.loss.per_sample(logits, target, features=features, **self._terms(logits))

    def parts(
        self, logits: Tensor, target: Tensor, share: Tensor | None = None, features: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Numerator and denominator of the reduced loss, two scalars; processes add both up before they divide.

        Args:
            logits: Shape ``[B, C]``, any floating-point type.
            target: Labels, shape ``[B]``, any integer type.
            share: How much each sample counts in both, shape ``[B]``; ``None`` stands for ones. A mixed target is the
                sum of the parts of its two labels with shares ``lam`` and ``1 - lam``.
            features: As for :meth:`per_sample`.

        Raises:
            ValueError: As :meth:`per_sample`, or the reduction is ``"none"``, which has no single value.
        """
        if self.reduction == "none":
            raise ValueError("reduction 'none' has no numerator and denominator; bind with mean, weighted_mean or sum")
        losses = self.per_sample(logits, target, features)
        if share is not None:
            if share.shape != losses.shape:
                raise ValueError(f"share must have shape {list(losses.shape)}, got {list(share.shape)}")
            share = share.to(losses.dtype)
            losses = share * losses
        if self.reduction == "sum":
            return losses.sum(), losses.new_ones(())
        weight = None
        if self.reduction == "weighted_mean":
            weight = self.loss.sample_weight(target.long(), **self._terms(losses))
        if share is not None:
            weight = share if weight is None else share * weight
        return losses.sum(), losses.new_full((), losses.shape[0]) if weight is None else weight.sum()

    def forward(self, logits: Tensor, target: Tensor, features: Tensor | None = None) -> Tensor:
        """The reduced loss: a scalar, or shape ``[B]`` with reduction ``"none"``.

        Args:
            logits: Shape ``[B, C]``, any floating-point type.
            target: Labels, shape ``[B]``, any integer type.
            features: As for :meth:`per_sample`.

        Raises:
            ValueError: As :meth:`per_sample`.
        """
        if self.reduction == "none":
            return self.per_sample(logits, target, features)
        numerator, denominator = self.parts(logits, target, features=features)
        return numerator / denominator

    def extra_repr(self) -> str:
        """What ``repr`` shows between the parentheses."""
        return f"{self.loss!r}, {self.stats!r}, reduction={self.reduction!r}"

    def _terms(self, like: Tensor) -> dict[str, Tensor]:
        terms: dict[str, Tensor] = {}
        for name, exact in self._exact.items():
            held: Tensor = getattr(self, f"term_{name}")
            if held.dtype != like.dtype:
                held = exact.to(like.device) if like.dtype == torch.float64 else held.to(like.dtype)
            terms[name] = held
        return terms

    def _checked(self, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        classes = self.stats.num_classes
        if logits.ndim != 2 or logits.shape[1] != classes or not logits.is_floating_point():
            raise ValueError(
                f"logits must be floating point of shape [B, {classes}], got {logits.dtype} {list(logits.shape)}"
            )
        if target.ndim != 1 or target.shape[0] != logits.shape[0]:
            raise ValueError(f"target must have shape [{logits.shape[0]}], got {list(target.shape)}")
        if target.is_floating_point() or target.is_complex() or target.dtype == torch.bool:
            raise ValueError(f"target must hold class labels of an integer type, got {target.dtype}")
        if logits.dtype != torch.float64:
            logits = logits.float()
        return logits, target.long()

    def _checked_features(self, features: Tensor | None, logits: Tensor) -> Tensor:
        if features is None:
            raise ValueError(f"{self.loss.name} needs the pooled features [B, D]: call it with features=...")
        if features.ndim != 2 or features.shape[0] != logits.shape[0] or not features.is_floating_point():
            raise ValueError(
                f"features must be floating point of shape [{logits.shape[0]}, D], "
                f"got {features.dtype} {list(features.shape)}"
            )
        return features.to(logits.dtype)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        # Every move or cast of a module ends here. Class terms follow the device, never a cast to half precision.
        super()._apply(fn, recurse)
        for name, exact in self._exact.items():
            moved: Tensor = getattr(self, f"term_{name}")
            if not moved.is_meta:
                dtype = torch.float64 if moved.dtype == torch.float64 else torch.float32
                setattr(self, f"term_{name}", exact.to(device=moved.device, dtype=dtype))
        return self
