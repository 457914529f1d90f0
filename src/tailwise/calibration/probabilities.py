"""Softmax, and tau-normalisation of classifier weights (kang2020decoupling, Sec. 4)."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import logsumexp

from tailwise.calibration.arrays import Floats, as_logits
from tailwise.core.checks import finite


def log_softmax(logits: Any) -> Floats:
    """Log probabilities ``[N, C]`` of logits ``[N, C]``.

    Raises:
        DataError: Logits of another shape or not finite.
    """
    values = as_logits(logits)
    return values - logsumexp(values, axis=1, keepdims=True)


def softmax(logits: Any) -> Floats:
    """Probabilities ``[N, C]`` of logits ``[N, C]``, float64.

    Raises:
        DataError: Logits of another shape or not finite.
    """
    return np.exp(log_softmax(logits))


def tau_normalise(weight: Any, tau: float = 1.0) -> Floats:
    r"""Class vectors divided by a power of their length, :math:`w_c / \lVert w_c \rVert^\tau`.

    Logits of new features are then ``features @ tau_normalise(weight).T``; the paper drops the bias. The same change of
    a trained run is ``--posthoc tau_norm`` (:mod:`tailwise.posthoc.tau_norm`). A vector of length 0 stays.

    Args:
        weight: ``[C, D]``.
        tau: A finite number; 0 changes nothing, 1 makes all lengths 1.

    Raises:
        ValueError: ``tau`` is not finite.
        DataError: Weights of another shape or not finite.
    """
    finite("tau", tau)
    values = as_logits(weight, "class vectors")
    length = np.linalg.norm(values, axis=1, keepdims=True)
    return values * np.where(length > 0, length, 1.0) ** -tau
