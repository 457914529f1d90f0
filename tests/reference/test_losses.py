"""Losses against the printed equations and against numbers that the official code of Bag of Tricks gave."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tailwise.losses import (
    CDT,
    LDAM,
    SEQL,
    BalancedSoftmax,
    ClassBalanced,
    ClassBalancedFocal,
    CostSensitive,
    CostSensitiveFocal,
    CrossEntropy,
    Focal,
    InfluenceBalanced,
    LabelAwareSmoothing,
    LogitAdjustment,
    Loss,
    Reduction,
)
from tests.helpers import shared_path
from tests.reference import losses as reference

COUNTS = np.array([5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50])
FEATURES = np.random.default_rng(1).normal(size=(64, 7))
Formula = Callable[[NDArray[np.float64], NDArray[np.int64]], NDArray[np.float64]]


def of(formula: Callable[..., NDArray[np.float64]], **values: object) -> Formula:
    return partial(formula, counts=COUNTS, **values)


def smoothing(**values: object) -> tuple[Loss, Formula]:
    return LabelAwareSmoothing(**values), of(reference.label_aware_smoothing, **values)  # type: ignore[arg-type]


CASES: dict[str, tuple[Loss, Formula]] = {
    "cross_entropy": (CrossEntropy(), reference.cross_entropy),
    "smoothed": (CrossEntropy(smoothing=0.1), partial(reference.cross_entropy, smoothing=0.1)),
    "balanced_softmax": (BalancedSoftmax(), of(reference.balanced_softmax)),
    "cost_sensitive": (CostSensitive(), of(reference.cost_sensitive)),
    "cost_sensitive_square_root": (CostSensitive(gamma=0.5), of(reference.cost_sensitive, gamma=0.5)),
    "class_balanced": (ClassBalanced(), of(reference.class_balanced, beta=0.9999)),
    "class_balanced_0.9": (ClassBalanced(beta=0.9), of(reference.class_balanced, beta=0.9)),
    "class_balanced_unnormalized": (
        ClassBalanced(normalize=False),
        of(reference.class_balanced, beta=0.9999, normalize=False),
    ),
    "focal": (Focal(), partial(reference.focal, gamma=2.0)),
    "focal_0.5_alpha": (Focal(gamma=0.5, alpha=0.25), partial(reference.focal, gamma=0.5, alpha=0.25)),
    "class_balanced_focal": (ClassBalancedFocal(), of(reference.class_balanced_focal, beta=0.9999, gamma=2.0)),
    "class_balanced_focal_unnormalized": (
        ClassBalancedFocal(beta=0.99, gamma=1.0, normalize=False),
        of(reference.class_balanced_focal, beta=0.99, gamma=1.0, normalize=False),
    ),
    "cost_sensitive_focal": (CostSensitiveFocal(), of(reference.cost_sensitive_focal, gamma=2.0)),
    "ldam": (LDAM(), of(reference.ldam, max_margin=0.5, scale=30.0)),
    "ldam_reweighted": (
        LDAM(max_margin=0.3, scale=10.0, beta=0.9999),
        of(reference.ldam, max_margin=0.3, scale=10.0, beta=0.9999),
    ),
    "logit_adjustment": (LogitAdjustment(tau=1.5), of(reference.logit_adjustment, tau=1.5)),
    "concave": smoothing(),
    "linear": smoothing(shape="linear", head=0.3, tail=0.0),
    "convex": smoothing(shape="convex"),
    "exponential": smoothing(shape="exponential", power=3.0),
    "smoothing_of_the_paper": smoothing(spread="others"),
    "cdt": (CDT(), of(reference.cdt, gamma=0.2)),
    "seql": (SEQL(threshold=0.05), of(reference.seql, threshold=0.05, beta=np.full((64, 10), 0.9))),
    "seql_certain": (
        SEQL(threshold=0.05, gamma=1.0, mask="drawn"),
        of(reference.seql, threshold=0.05, beta=np.ones((64, 10))),
    ),
    "influence_balanced": (
        InfluenceBalanced(),
        of(reference.influence_balanced, h=FEATURES, alpha=1000.0, epsilon=1e-3),
    ),
}


def batch(size: int = 64) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(size, 10)) * 4, rng.integers(0, 10, size)


@pytest.mark.parametrize("case", CASES)
def test_float64_losses_equal_the_printed_equation(case: str) -> None:
    loss, formula = CASES[case]
    z, y = batch()
    bound = loss.bind(COUNTS).double()
    value = bound.per_sample(torch.from_numpy(z), torch.from_numpy(y), torch.from_numpy(FEATURES))
    # A loss of almost 0 is a difference of logits, which LDAM makes 30 times larger.
    np.testing.assert_allclose(value.numpy(), formula(z, y), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("case", CASES)
def test_float32_losses_equal_the_printed_equation(case: str) -> None:
    loss, formula = CASES[case]
    z, y = batch()
    z = z.astype(np.float32).astype(np.float64)
    features = torch.from_numpy(FEATURES).float()
    value = loss.bind(COUNTS).per_sample(torch.from_numpy(z).float(), torch.from_numpy(y), features)
    assert value.dtype == torch.float32
    # Relative to the size of the logits (about 10): a float32 logit carries no more digits than that.
    np.testing.assert_allclose(value.numpy(), formula(z, y), rtol=1e-6, atol=1e-6 * np.abs(z).max())


def test_drawn_masks_follow_the_generator_and_the_printed_equation() -> None:
    z, y = batch()
    bound = SEQL(threshold=0.05, gamma=0.4, mask="drawn").bind(COUNTS).double()
    torch.manual_seed(3)
    value = bound.per_sample(torch.from_numpy(z), torch.from_numpy(y))
    torch.manual_seed(3)
    beta = torch.rand(64, 10, dtype=torch.float64).numpy() < 0.4
    np.testing.assert_allclose(value.numpy(), reference.seql(z, y, COUNTS, 0.05, beta), rtol=1e-12)


#: The name in the file of reference values -> the loss and the reduction of that code.
OFFICIAL: dict[str, tuple[Loss, Reduction]] = {
    "CrossEntropy": (CrossEntropy(), "mean"),
    "BalancedSoftmaxCE": (BalancedSoftmax(), "mean"),
    "CostSensitiveCE": (CostSensitive(), "weighted_mean"),
    "ClassBalanceCE": (ClassBalanced(beta=0.9999), "weighted_mean"),
    "FocalLoss": (Focal(gamma=2.0), "mean"),
    "ClassBalanceFocal": (ClassBalancedFocal(beta=0.9999, gamma=2.0), "mean"),
    "LDAMLoss": (LDAM(max_margin=0.5, scale=30.0), "weighted_mean"),
}


@pytest.mark.parametrize("name", OFFICIAL)
@pytest.mark.parametrize("case", ["t0", "t1"])
def test_values_and_gradients_equal_those_of_the_official_code(name: str, case: str) -> None:
    loss, reduction = OFFICIAL[name]
    with np.load(shared_path("golden/losses_bag_of_tricks.npz")) as golden:
        counts = golden["BalancedSoftmaxCE/class_weight"].astype(np.int64)
        own_input = f"{case}/{name}/input"
        logits = torch.from_numpy(golden[own_input if own_input in golden else f"{case}/logits"]).requires_grad_()
        labels = torch.from_numpy(golden[f"{case}/labels"])
        expected_loss, expected_grad = golden[f"{case}/{name}/loss"], golden[f"{case}/{name}/grad"]
    value = loss.bind(counts, reduction)(logits, labels)
    value.backward()
    assert counts.tolist() == COUNTS.tolist()
    assert logits.grad is not None
    np.testing.assert_allclose(value.item(), expected_loss, rtol=1e-5)
    np.testing.assert_allclose(logits.grad.numpy(), expected_grad, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "loss", "term"),
    [
        ("CostSensitiveCE/class_weight", CostSensitive(), "weight"),
        ("ClassBalanceCE/class_weight", ClassBalanced(), "weight"),
        ("ClassBalanceFocal/class_weight", ClassBalancedFocal(), "weight"),
        ("LDAMLoss/margins", LDAM(), "margin"),
        ("LDAMLoss/class_weight", LDAM(), "weight"),
    ],
)
def test_class_terms_equal_those_of_the_official_code(name: str, loss: Loss, term: str) -> None:
    with np.load(shared_path("golden/losses_bag_of_tricks.npz")) as golden:
        expected = golden[name]
    np.testing.assert_allclose(loss.bind(COUNTS).get_buffer(f"term_{term}").numpy(), expected, rtol=1e-6)
