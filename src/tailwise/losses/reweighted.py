"""The form that cost-sensitive and class-balanced losses share: a loss per sample times the weight of its class."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from tailwise.losses.base import Loss


class Reweighted(Loss):
    r"""Base of losses of the form :math:`w_y \ell(z, y)`.

    The reduction ``mean`` keeps the size of the weights, which acts like a factor on the learning rate.
    ``weighted_mean`` divides by :math:`\sum w_y` over the batch, so only ratios of weights matter; this is what
    PyTorch's cross-entropy does when it is given class weights.
    """

    @abstractmethod
    def class_weight(self, counts: Tensor) -> Tensor:
        """The weight of every class, shape ``[C]``, float64."""

    @abstractmethod
    def unweighted(self, logits: Tensor, target: Tensor) -> Tensor:
        """The loss of every sample before its weight: ``[B, C]``, ``[B]`` -> ``[B]``."""

    def class_terms(self, counts: Tensor) -> dict[str, Tensor]:
        """``weight``, shape ``[C]``."""
        return {"weight": self.class_weight(counts)}

    def per_sample(self, logits: Tensor, target: Tensor, *, weight: Tensor) -> Tensor:
        """The weighted loss of every sample: ``[B, C]``, ``[B]`` -> ``[B]``."""
        return weight[target] * self.unweighted(logits, target)

    def sample_weight(self, target: Tensor, *, weight: Tensor) -> Tensor:
        """The weight of every sample's class, shape ``[B]``."""
        return weight[target]
