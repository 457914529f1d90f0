"""The loss of residual branches against Eq. 1 to 3 in float64, and against numbers that the official code gave."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from tailwise.core.errors import TailwiseError
from tailwise.core.groups import Groups
from tailwise.core.registry import REGISTRY
from tailwise.core.stats import ClassStats
from tailwise.core.types import MixedTarget, Part, Target
from tailwise.objectives import ResLT
from tests.helpers import shared_path

COUNTS = np.array([40, 500, 8, 90, 3, 200])
#: Largest first: classes 1, 5 | 3, 0 | 2, 4.
GROUP = np.array([1, 0, 2, 1, 2, 0])
LOGITS = np.random.default_rng(0).normal(size=(3, 12, 6)) * 2
LABELS = np.array([1, 1, 5, 3, 0, 2, 4, 1, 5, 5, 1, 2])


def cross_entropy(logits: NDArray[np.float64], label: int, epsilon: float = 0.0) -> float:
    share = np.exp(logits - logits.max())
    return float(-np.log(share[label] / share.sum() + epsilon))


def expected(spec: ResLT, labels: NDArray[np.int64], belongs: Any, second: Any = None, lam: Any = None) -> float:
    """Eq. 3 written out sample by sample."""
    terms: list[list[tuple[float, float]]] = [[] for _ in LOGITS]
    fusion = 0.0
    for sample, label in enumerate(labels):
        pairs = [(label, 1.0)] if second is None else [(label, lam[sample]), (second[sample], 1 - lam[sample])]
        for own, share in pairs:
            fusion += share * cross_entropy(LOGITS[:, sample].sum(0), own) / len(labels)
            for branch, logits in enumerate(LOGITS):
                if belongs(branch, GROUP[own]):
                    terms[branch].append((share, share * cross_entropy(logits[sample], own, spec.epsilon)))
    if spec.reduction == "pooled":
        flat = [term for branch in terms for term in branch]
        branches = sum(loss for _, loss in flat) / sum(share for share, _ in flat)
    else:
        branches = sum(sum(x for _, x in branch) / sum(s for s, _ in branch) for branch in terms if branch)
    return (1 - spec.alpha) * fusion + spec.alpha * branches


def total(spec: ResLT, logits: Tensor, target: Target, stats: ClassStats) -> Tensor:
    """What a task makes of the parts (an empty denominator divides nothing)."""
    outputs = {"main": logits.sum(0), **{f"branch{number}": one for number, one in enumerate(logits)}}
    parts = spec.bind(stats)(outputs, {"main": target}, {"main": (0, logits.shape[1])})
    return sum((p.weight * p.numerator / p.denominator.clamp_min(1e-12) for p in parts.values()), torch.zeros(()))


RULES = {
    "nested": lambda branch, group: group >= branch,
    "disjoint": lambda branch, group: group == branch,
    "main_and_disjoint": lambda branch, group: branch in (0, group),
    "everything": lambda branch, group: True,
}


@pytest.mark.parametrize("assignment", RULES)
@pytest.mark.parametrize("reduction", ["pooled", "sum_of_means"])
@pytest.mark.parametrize("alpha", [0.0, 0.7, 1.0])
def test_the_loss_is_the_printed_equation(assignment: Any, reduction: Any, alpha: float) -> None:
    spec = ResLT(alpha=alpha, assignment=assignment, reduction=reduction, epsilon=0.0)
    value = total(spec, torch.from_numpy(LOGITS), torch.from_numpy(LABELS), ClassStats(COUNTS))
    assert float(value) == pytest.approx(expected(spec, LABELS, RULES[assignment]), rel=1e-12)


@pytest.mark.parametrize("reduction", ["pooled", "sum_of_means"])
def test_a_mixed_label_counts_by_its_share(reduction: Any) -> None:
    spec = ResLT(alpha=0.7, reduction=reduction)
    rng = np.random.default_rng(1)
    second, lam = rng.permutation(LABELS), rng.random(len(LABELS))
    target = MixedTarget(torch.from_numpy(LABELS), torch.from_numpy(second), torch.from_numpy(lam))
    value = total(spec, torch.from_numpy(LOGITS), target, ClassStats(COUNTS))
    assert float(value) == pytest.approx(expected(spec, LABELS, RULES["nested"], second, lam), rel=1e-12)


@pytest.mark.parametrize("reduction", ["pooled", "sum_of_means"])
@pytest.mark.parametrize("labels", [[1] * 12, [5, 1] * 6, [3, 0] * 6])
def test_a_batch_without_rare_classes_has_a_finite_loss_and_gradient(reduction: Any, labels: list[int]) -> None:
    spec, logits = ResLT(alpha=0.7, reduction=reduction), torch.from_numpy(LOGITS).requires_grad_()
    value = total(spec, logits, torch.tensor(labels), ClassStats(COUNTS))
    value.backward()
    assert float(value.detach()) == pytest.approx(expected(spec, np.array(labels), RULES["nested"]), rel=1e-12)
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    if 3 not in labels:
        only_fusion = ResLT(alpha=0.0)
        other = torch.from_numpy(LOGITS).requires_grad_()
        total(only_fusion, other, torch.tensor(labels), ClassStats(COUNTS)).backward()
        assert other.grad is not None
        torch.testing.assert_close(logits.grad[1:], 0.3 * other.grad[1:])  # residual branches learn by fusion only


@pytest.mark.parametrize("reduction", ["pooled", "sum_of_means"])
def test_processes_add_up_even_where_one_has_no_rare_image(reduction: Any) -> None:
    order = np.argsort(GROUP[LABELS], kind="stable")  # the second half has all rare classes
    logits, labels = torch.from_numpy(LOGITS[:, order]), torch.from_numpy(LABELS[order])
    bound = ResLT(reduction=reduction).bind(ClassStats(COUNTS))

    def parts(rows: slice) -> dict[str, Part]:
        own = logits[:, rows]
        outputs = {"main": own.sum(0), **{f"branch{number}": one for number, one in enumerate(own)}}
        return bound(outputs, {"main": labels[rows]}, {"main": (0, own.shape[1])})

    first, second, whole = parts(slice(0, 6)), parts(slice(6, 12)), parts(slice(0, 12))
    assert reduction == "pooled" or float(first["main/branch2"].denominator) == 0
    for name, part in whole.items():
        torch.testing.assert_close(first[name].numerator + second[name].numerator, part.numerator)
        torch.testing.assert_close(first[name].denominator + second[name].denominator, part.denominator)


def test_extreme_logits_in_half_precision_give_a_finite_loss() -> None:
    logits = (1e4 * torch.from_numpy(LOGITS)).bfloat16().requires_grad_()
    value = total(ResLT(), logits, torch.from_numpy(LABELS), ClassStats(COUNTS))
    value.backward()
    assert value.dtype == torch.float32
    assert value.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_classes_in_another_order_have_the_same_loss() -> None:
    order = np.array([4, 2, 0, 5, 1, 3])
    place = np.argsort(order)
    moved = total(
        ResLT(), torch.from_numpy(LOGITS[..., order]), torch.from_numpy(place[LABELS]), ClassStats(COUNTS[order])
    )
    plain = total(ResLT(), torch.from_numpy(LOGITS), torch.from_numpy(LABELS), ClassStats(COUNTS))
    torch.testing.assert_close(moved, plain)


@pytest.mark.parametrize("case", ["c10", "c100", "head_only"])
def test_values_and_gradients_equal_those_of_the_official_code(case: str) -> None:
    with np.load(shared_path("golden/loss_reslt.npz")) as stored:
        golden = {name.partition("/")[2]: stored[name] for name in stored if name.startswith(f"{case}/")}
    classes, cuts = golden["logits"].shape[-1], tuple(int(cut) for cut in golden["cuts"])
    stats = ClassStats(np.arange(classes, 0, -1))
    logits = torch.from_numpy(golden["logits"]).requires_grad_()
    target = torch.from_numpy(golden["labels"])
    for groups in (Groups(rule="official"), Groups(rule="cuts", cuts=cuts)):
        logits.grad = None
        value = total(ResLT(alpha=float(golden["alpha"]), groups=groups), logits, target, stats)
        value.backward()
        np.testing.assert_allclose(value.detach(), golden["loss"], rtol=1e-5)
        assert logits.grad is not None
        np.testing.assert_allclose(logits.grad, golden["grad"], rtol=1e-5, atol=1e-6)
        fusion = total(ResLT(alpha=0.0, groups=groups), logits, target, stats)
        branch = total(ResLT(alpha=1.0, groups=groups), logits, target, stats)
        np.testing.assert_allclose(fusion.detach(), golden["loss_fusion"], rtol=1e-5)
        np.testing.assert_allclose(branch.detach(), golden["loss_branch"], rtol=1e-5)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"alpha": 1.5}, "objective 'reslt': alpha must be from 0 to 1, got 1.5"),
        ({"alpha": -0.1}, "objective 'reslt': alpha must be from 0 to 1, got -0.1"),
        ({"alpha": float("nan")}, "objective 'reslt': alpha must be from 0 to 1, got nan"),
        ({"branches": 1}, "objective 'reslt': branches must be from 2 to 5, got 1"),
        ({"epsilon": -1e-7}, "objective 'reslt': epsilon must be from 0 to 0.1, got -1e-07"),
    ],
)
def test_values_out_of_range_are_refused(values: dict[str, float], message: str) -> None:
    with pytest.raises(TailwiseError) as error:
        REGISTRY.make("objectives", "reslt", **values)
    assert str(error.value) == message
