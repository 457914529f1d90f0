"""What every objective must do."""

from __future__ import annotations

from collections import defaultdict

import torch

from tailwise.core.stats import ClassStats
from tailwise.core.types import MixedTarget, Part
from tailwise.objectives.base import BoundObjective, Objective
from tests.conformance.cases import check_record as records

STATS = ClassStats([40, 20, 10, 5])


def parts_of(bound: BoundObjective, logits: torch.Tensor, target: torch.Tensor | MixedTarget) -> dict[str, Part]:
    outputs = defaultdict[str, torch.Tensor](lambda: logits)  # whatever logits it asks for
    return bound(outputs, {"main": target}, {"main": (0, logits.shape[0])})


def total(parts: dict[str, Part]) -> torch.Tensor:
    return sum((part.weight * part.numerator / part.denominator for part in parts.values()), torch.zeros(()))


def a_batch(size: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(size, 4, generator=generator), torch.randint(0, 4, (size,), generator=generator)


def check_parts_are_finite_fractions(objective: Objective) -> None:
    """Scalars, denominators above 0, and a gradient on the logits."""
    logits, target = a_batch()
    logits.requires_grad_()
    parts = parts_of(objective.bind(STATS), logits, target)
    assert parts
    for part in parts.values():
        assert part.numerator.shape == part.denominator.shape == ()
        assert part.denominator > 0
        assert torch.isfinite(part.numerator)
    total(parts).backward()
    assert logits.grad is not None
    assert logits.grad.abs().sum() > 0


def check_processes_add_up(objective: Objective) -> None:
    """Numerators and denominators of two halves sum to those of the whole batch."""
    logits, target = a_batch()
    bound = objective.bind(STATS)
    whole = parts_of(bound, logits, target)
    halves = [parts_of(bound, logits[half::2], target[half::2]) for half in (0, 1)]
    for name, part in whole.items():
        torch.testing.assert_close(sum(half[name].numerator for half in halves), part.numerator)
        torch.testing.assert_close(sum(half[name].denominator for half in halves), part.denominator)


def check_a_mixture_of_one_label_is_the_label(objective: Objective) -> None:
    """Lambda 1, and equal labels with any lambda, give the unmixed value."""
    logits, target = a_batch()
    bound = objective.bind(STATS)
    plain = total(parts_of(bound, logits, target))
    other = target.flip(0)
    one = total(parts_of(bound, logits, MixedTarget(target, other, torch.ones(8))))
    same = total(parts_of(bound, logits, MixedTarget(target, target, torch.rand(8))))
    torch.testing.assert_close(one, plain)
    torch.testing.assert_close(same, plain)


def check_record(objective: Objective) -> None:
    """Pickle, plain data and YAML give it back."""
    records(objective, Objective)


CHECKS = (
    check_parts_are_finite_fractions,
    check_processes_add_up,
    check_a_mixture_of_one_label_is_the_label,
    check_record,
)
