"""RIDE's loss against the formulas of its docstring in float64, written sample by sample."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tailwise.core.stats import ClassStats
from tailwise.core.types import MixedTarget, Part
from tailwise.losses.cross_entropy import CrossEntropy
from tailwise.losses.ldam import LDAM
from tailwise.objectives.ride import Ride

COUNTS = [400, 90, 20, 5]
RNG = np.random.default_rng(0)
LOGITS = 4 * RNG.normal(size=(3, 10, 4))
TARGET = RNG.integers(0, 4, 10)


def softmax(row: np.ndarray) -> np.ndarray:
    exp = np.exp(row - row.max())
    return exp / exp.sum()


def weights(beta: float) -> list[float]:
    numbers = [(1 - beta) / (1 - beta**count) for count in COUNTS]
    return [4 * number / sum(numbers) for number in numbers]


def individual(logits: np.ndarray, target: np.ndarray, *, margin: float, beta: float) -> float:
    """Weighted mean of cross-entropies whose label's logit is lowered."""
    lowest, total, share = min(COUNTS), 0.0, 0.0
    for row, label in zip(logits, target, strict=True):
        moved = row.copy()
        moved[label] -= margin * (lowest / COUNTS[label]) ** 0.25
        weight = weights(beta)[label] if beta else 1.0
        total -= weight * math.log(softmax(moved)[label])
        share += weight
    return total / share


def divergence(spread: float, temperature: float) -> float:
    """Sum over experts of the mean divergence of the mean expert from each, times the squared mean temperature."""
    relative = [spread * 4 * count / sum(COUNTS) + 1 - spread for count in COUNTS]
    by_class = np.array([temperature * value / max(relative) for value in relative])
    total = 0.0
    for logits in LOGITS:
        for row, middle in zip(logits, LOGITS.mean(0), strict=True):
            mean, own = softmax(middle / by_class), softmax(row / by_class)
            total += sum(p * math.log(p / q) for p, q in zip(mean, own, strict=True)) / 10
    return total * float(np.mean(by_class)) ** 2


def outputs(logits: torch.Tensor) -> dict[str, torch.Tensor]:
    return {"main": logits.mean(0), **{f"expert{number}": item for number, item in enumerate(logits)}}


def total(parts: dict[str, Part]) -> float:
    return float(sum(part.weight * part.numerator / part.denominator for part in parts.values()))


@pytest.mark.parametrize("beta", [0.0, 0.99])
@pytest.mark.parametrize("spread", [0.0, 0.05])
def test_ride_equals_the_formulas(beta: float, spread: float) -> None:
    objective = Ride(
        loss=LDAM(max_margin=15.0, scale=1.0, beta=beta),
        reduction="weighted_mean",
        diversity=-0.45,
        temperature=1.3,
        spread=spread,
    )
    bound = objective.bind(ClassStats(COUNTS)).double()
    parts = bound(outputs(torch.from_numpy(LOGITS)), {"main": torch.from_numpy(TARGET)}, {"main": (0, 10)})
    expected = sum(individual(item, TARGET, margin=15.0, beta=beta) for item in LOGITS)
    found = parts["main/ldam"]
    assert float(found.numerator / found.denominator) == pytest.approx(expected, rel=1e-9)
    diversity = divergence(spread, 1.3)
    # Temperatures are kept in float32.
    assert total(parts) == pytest.approx(expected - 0.45 * diversity, rel=1e-6)
    assert diversity > 0.1


def test_no_gradient_flows_through_the_mean_expert() -> None:
    logits = torch.from_numpy(LOGITS).requires_grad_()
    bound = Ride(diversity=-1.0).bind(ClassStats(COUNTS))
    part = bound(outputs(logits), {"main": torch.from_numpy(TARGET)}, {"main": (0, 10)})["main/diversity"]
    (part.weight * part.numerator / part.denominator).backward()
    # The gradient of KL(p || q) in the logits of q is q - p.
    mean = np.stack([softmax(row) for row in LOGITS.mean(0)])
    for found, own in zip(logits.grad.numpy(), LOGITS, strict=True):  # type: ignore[union-attr]
        expected = -(np.stack([softmax(row) for row in own]) - mean) / 10
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


def test_equal_experts_have_no_diversity_and_one_expert_is_its_loss() -> None:
    logits = torch.from_numpy(LOGITS)
    bound = Ride(loss=CrossEntropy()).bind(ClassStats(COUNTS))
    rows, target = {"main": (0, 10)}, {"main": torch.from_numpy(TARGET)}
    same = bound(outputs(logits[:1].expand(3, -1, -1)), target, rows)
    assert float(same["main/diversity"].numerator) == pytest.approx(0, abs=1e-9)
    alone = bound({"main": logits[0]}, target, rows)
    assert list(alone) == ["main/cross_entropy"]
    assert 3 * total(alone) == pytest.approx(total(same))


def test_mixed_labels_share_the_individual_loss_only() -> None:
    bound = Ride().bind(ClassStats(COUNTS))
    first, second = torch.from_numpy(TARGET), torch.from_numpy(TARGET).flip(0)
    logits, rows = outputs(torch.from_numpy(LOGITS)), {"main": (0, 10)}
    mixed = bound(logits, {"main": MixedTarget(first, second, torch.full((10,), 0.25))}, rows)
    one, two = (bound(logits, {"main": label}, rows) for label in (first, second))
    assert total(mixed) == pytest.approx(0.25 * total(one) + 0.75 * total(two), rel=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "temperature must be"),
        ({"spread": 1.5}, "spread must be"),
        ({"diversity": float("nan")}, "diversity must be"),
    ],
)
def test_wrong_values_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Ride(**options)  # type: ignore[arg-type]
