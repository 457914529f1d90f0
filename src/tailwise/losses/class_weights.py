"""Weights of the classes from their counts: inverse frequency, and effective number (cui2019class)."""

from __future__ import annotations

from torch import Tensor


def inverse_frequency(counts: Tensor, exponent: float = 1.0) -> Tensor:
    r"""The weights :math:`(n_{min} / n_c)^\gamma`: 1 for the smallest class, less for larger ones.

    Args:
        counts: Shape ``[C]``, float64.
        exponent: :math:`\gamma`; 0 gives ones.
    """
    return (counts.min() / counts) ** exponent


def effective_number(counts: Tensor, beta: float) -> Tensor:
    r"""The weights :math:`1 / E_{n_c}` with the effective number :math:`E_n = (1 - \beta^n) / (1 - \beta)`.

    The difference is computed as :math:`-\mathrm{expm1}(n \log \beta)`, which keeps all digits where
    :math:`\beta^n` is close to 1.

    Args:
        counts: Shape ``[C]``, float64.
        beta: :math:`\beta`, in [0, 1). 0 gives ones; towards 1, the weights approach :math:`1 / n_c`.
    """
    return (1.0 - beta) / -(counts * counts.new_tensor(beta).log()).expm1()


def sum_to_classes(weight: Tensor) -> Tensor:
    """The weights times the number that makes them sum to the number of classes, shape ``[C]``."""
    return weight * (weight.numel() / weight.sum())
