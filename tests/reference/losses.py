"""Slow, independent losses written from the printed equations: one sample after another, numpy, float64."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def log_softmax(z: Array) -> Array:
    """Logarithm of the softmax of one sample."""
    top = z.max()
    return z - (top + np.log(sum(np.exp(value - top) for value in z)))


def cross_entropy(z: Array, y: NDArray[np.int64], smoothing: float = 0.0) -> Array:
    """Eq. of Szegedy et al., Sec. 7: cross-entropy against (1 - e) one-hot + e / C."""
    losses: list[float] = []
    for row, label in zip(z, y, strict=True):
        target = np.full(row.size, smoothing / row.size)
        target[label] += 1 - smoothing
        losses.append(-float((target * log_softmax(row)).sum()))
    return np.array(losses)


def balanced_softmax(z: Array, y: NDArray[np.int64], counts: NDArray[np.int64]) -> Array:
    """Ren et al., Eq. 4: -log(n_y e^z_y / sum_c n_c e^z_c), with the largest exponent taken out."""
    losses: list[float] = []
    for row, label in zip(z, y, strict=True):
        top = row.max()
        numerator = counts[label] * np.exp(row[label] - top)
        losses.append(-float(np.log(numerator / sum(n * np.exp(v - top) for n, v in zip(counts, row, strict=True)))))
    return np.array(losses)


def cost_sensitive(z: Array, y: NDArray[np.int64], counts: NDArray[np.int64], gamma: float = 1.0) -> Array:
    """Zhang et al., Eq. 2, with an exponent: -(n_min / n_y)^gamma log p_y."""
    return np.array([(min(counts) / counts[c]) ** gamma * -log_softmax(row)[c] for row, c in zip(z, y, strict=True)])


def effective_number_weights(counts: NDArray[np.int64], beta: float, normalize: bool) -> list[float]:
    """Cui et al.: (1 - beta) / (1 - beta^n), whose denominator is (1 - beta) (1 + beta + ... + beta^(n-1))."""
    # The sum of the geometric series, term by term, has no difference of near-equal numbers in it.
    weights = [1 / float(np.sum(beta ** np.arange(n, dtype=np.float64))) for n in counts]
    total = sum(weights)
    return [len(weights) * weight / total for weight in weights] if normalize else weights


def class_balanced(
    z: Array, y: NDArray[np.int64], counts: NDArray[np.int64], beta: float, normalize: bool = True
) -> Array:
    """Zhang et al., Eq. 6; with ``normalize``, the weights of all classes sum to their number."""
    weights = effective_number_weights(counts, beta, normalize)
    return np.array([weights[c] * -log_softmax(row)[c] for row, c in zip(z, y, strict=True)])


def focal(z: Array, y: NDArray[np.int64], gamma: float, alpha: float | None = None) -> Array:
    """Zhang et al., Eqs. 3 and 4; with ``alpha``, Lin et al., Eq. 5."""
    losses: list[float] = []
    for row, label in zip(z, y, strict=True):
        total = 0.0
        for number, value in enumerate(row):
            # p_t and 1 - p_t both without subtracting from 1.
            sign = 1 if number == label else -1
            p_t, rest = 1 / (1 + np.exp(-sign * value)), 1 / (1 + np.exp(sign * value))
            factor = 1.0 if alpha is None else alpha if number == label else 1 - alpha
            total -= factor * rest**gamma * (np.log(p_t) if p_t < 0.5 else np.log1p(-rest))
        losses.append(float(total))
    return np.array(losses)


def class_balanced_focal(
    z: Array, y: NDArray[np.int64], counts: NDArray[np.int64], beta: float, gamma: float, normalize: bool = True
) -> Array:
    """Zhang et al., Eq. 5."""
    return np.array(effective_number_weights(counts, beta, normalize))[y] * focal(z, y, gamma)


def cost_sensitive_focal(z: Array, y: NDArray[np.int64], counts: NDArray[np.int64], gamma: float) -> Array:
    """The focal loss times n_min / n_y."""
    return np.array([min(counts) / counts[c] for c in y]) * focal(z, y, gamma)


def ldam(
    z: Array, y: NDArray[np.int64], counts: NDArray[np.int64], max_margin: float, scale: float, beta: float = 0.0
) -> Array:
    """Cao et al., Eqs. 12 and 13 on scaled logits: margins proportional to n^(-1/4), the largest is max_margin."""
    roots = [1 / np.sqrt(np.sqrt(n)) for n in counts]
    weights = effective_number_weights(counts, beta, True)
    losses: list[float] = []
    for row, label in zip(z, y, strict=True):
        moved = row.copy()
        moved[label] -= max_margin * roots[label] / max(roots)
        losses.append(weights[label] * -float(log_softmax(scale * moved)[label]))
    return np.array(losses)


def logit_adjustment(z: Array, y: NDArray[np.int64], counts: NDArray[np.int64], tau: float) -> Array:
    """Menon et al., Eq. 10 as a logarithm of one plus pairwise terms: log(1 + sum (pi_c / pi_y)^tau e^(z_c - z_y))."""
    losses: list[float] = []
    for row, label in zip(z, y, strict=True):
        pairs = [tau * np.log(n / counts[label]) + value - row[label] for n, value in zip(counts, row, strict=True)]
        losses.append(-float(log_softmax(np.array(pairs))[label]))
    return np.array(losses)


def label_aware_smoothing(
    z: Array,
    y: NDArray[np.int64],
    counts: NDArray[np.int64],
    *,
    head: float = 0.4,
    tail: float = 0.1,
    shape: str = "concave",
    power: float = 1.0,
    spread: str = "all",
) -> Array:
    """Zhong et al.: cross-entropy against a target built entry by entry, with the four forms of the smoothing."""
    largest, smallest, losses = max(counts), min(counts), []
    for row, label in zip(z, y, strict=True):
        rise = (counts[label] - smallest) / (largest - smallest)
        epsilon = {
            "concave": tail + (head - tail) * np.sin(rise * np.pi / 2),
            "linear": tail + (head - tail) * rise,
            "convex": head + (head - tail) * np.sin(1.5 * np.pi + rise * np.pi / 2),
            "exponential": tail + (head - tail) * rise**power,
        }[shape]
        others = epsilon / row.size if spread == "all" else epsilon / (row.size - 1)
        target = np.full(row.size, others)
        target[label] = 1 - epsilon + (others if spread == "all" else 0.0)
        losses.append(-float((target * log_softmax(row)).sum()))
    return np.array(losses)


def cdt(z: Array, y: NDArray[np.int64], counts: NDArray[np.int64], gamma: float) -> Array:
    """Ye et al.: softmax over z_c / a_c with a_c = (n_max / n_c)^gamma."""
    temperatures = np.array([(max(counts) / n) ** gamma for n in counts])
    return np.array([-log_softmax(row / temperatures)[c] for row, c in zip(z, y, strict=True)])


def seql(
    z: Array, y: NDArray[np.int64], counts: NDArray[np.int64], threshold: float, beta: Array | NDArray[np.bool_]
) -> Array:
    """Tan et al.: -log(e^z_y / sum_k w_k e^z_k), w_k = 1 - beta T(f_k) (1 - y_k), for given beta of shape [B, C]."""
    losses: list[float] = []
    for row, label, drawn in zip(z, y, beta, strict=True):
        total = 0.0
        for number, value in enumerate(row):
            rare = counts[number] / sum(counts) < threshold
            weight = 1 - float(drawn[number]) * rare * (number != label)
            total += weight * np.exp(value - row.max())
        losses.append(float(np.log(total) - (row[label] - row.max())))
    return np.array(losses)


def influence_balanced(
    z: Array, y: NDArray[np.int64], counts: NDArray[np.int64], h: Array, alpha: float, epsilon: float
) -> Array:
    """Park et al.: the weighted cross-entropy over the 1-norm of p - y times the 1-norm of the features."""
    weights = [len(counts) / n / sum(1 / m for m in counts) for n in counts]
    losses: list[float] = []
    for row, label, feature in zip(z, y, h, strict=True):
        log_p = log_softmax(row)
        # The 1-norm: the label's 1 - p_y, as the sum over the other classes, and those other classes themselves.
        others = sum(float(np.exp(value)) for number, value in enumerate(log_p) if number != label)
        influence = (others + others) * sum(abs(value) for value in feature)
        # From the other classes too, so that no digits are lost where p_y is near 1.
        losses.append(weights[label] * alpha / (influence + epsilon) * cross_entropy_of(log_p, label, others))
    return np.array(losses)


def cross_entropy_of(log_p: Array, label: int, others: float) -> float:
    """-log p_y, from the sum of the other probabilities where that is more exact."""
    return -float(np.log1p(-others)) if others < 0.5 else -float(log_p[label])
