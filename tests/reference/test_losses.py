"""Losses against the printed equations and against numbers that the official code of Bag of Tricks gave."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tailwise.losses import BalancedSoftmax, CrossEntropy, Loss
from tests.helpers import shared_path
from tests.reference import losses as reference

COUNTS = np.array([5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50])
Formula = Callable[[NDArray[np.float64], NDArray[np.int64]], NDArray[np.float64]]

CASES: dict[str, tuple[Loss, Formula]] = {
    "cross_entropy": (CrossEntropy(), reference.cross_entropy),
    "smoothed": (CrossEntropy(smoothing=0.1), lambda z, y: reference.cross_entropy(z, y, 0.1)),
    "balanced_softmax": (BalancedSoftmax(), lambda z, y: reference.balanced_softmax(z, y, COUNTS)),
}


def batch(size: int = 64) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(size, 10)) * 4, rng.integers(0, 10, size)


@pytest.mark.parametrize("case", CASES)
def test_float64_losses_equal_the_printed_equation(case: str) -> None:
    loss, formula = CASES[case]
    z, y = batch()
    value = loss.bind(COUNTS).double().per_sample(torch.from_numpy(z), torch.from_numpy(y))
    np.testing.assert_allclose(value.numpy(), formula(z, y), rtol=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_float32_losses_equal_the_printed_equation(case: str) -> None:
    loss, formula = CASES[case]
    z, y = batch()
    z = z.astype(np.float32).astype(np.float64)
    value = loss.bind(COUNTS).per_sample(torch.from_numpy(z).float(), torch.from_numpy(y))
    assert value.dtype == torch.float32
    # Relative to the size of the logits (about 10): a float32 logit carries no more digits than that.
    np.testing.assert_allclose(value.numpy(), formula(z, y), rtol=1e-6, atol=1e-6 * np.abs(z).max())


@pytest.mark.parametrize("loss", [CrossEntropy(), BalancedSoftmax()], ids=["CrossEntropy", "BalancedSoftmaxCE"])
@pytest.mark.parametrize("case", ["t0", "t1"])
def test_values_and_gradients_equal_those_of_the_official_code(loss: Loss, case: str) -> None:
    name = "CrossEntropy" if isinstance(loss, CrossEntropy) else "BalancedSoftmaxCE"
    with np.load(shared_path("golden/losses_bag_of_tricks.npz")) as golden:
        counts = golden["BalancedSoftmaxCE/class_weight"].astype(np.int64)
        logits = torch.from_numpy(golden[f"{case}/logits"]).requires_grad_()
        labels = torch.from_numpy(golden[f"{case}/labels"])
        expected_loss, expected_grad = golden[f"{case}/{name}/loss"], golden[f"{case}/{name}/grad"]
    value = loss.bind(counts, "mean")(logits, labels)
    value.backward()
    assert counts.tolist() == COUNTS.tolist()
    assert logits.grad is not None
    np.testing.assert_allclose(value.item(), expected_loss, rtol=1e-5)
    np.testing.assert_allclose(logits.grad.numpy(), expected_grad, rtol=1e-5, atol=1e-6)
