"""Binding a loss to counts, its checks of the inputs, and the precision of its class terms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from tailwise.core.errors import DataError, TailwiseError, UnknownName
from tailwise.core.registry import REGISTRY
from tailwise.core.spec import frozen
from tailwise.core.stats import ClassStats
from tailwise.losses import BalancedSoftmax, CrossEntropy, Loss

COUNTS = [50, 7, 200]


@frozen
class Weighted(Loss):
    """Cross-entropy weighted by 1 / n_c, to tell the two means apart."""

    def class_terms(self, counts: Tensor) -> dict[str, Tensor]:
        return {"weight": 1 / counts}

    def per_sample(self, logits: Tensor, target: Tensor, *, weight: Tensor) -> Tensor:
        return weight[target] * torch.nn.functional.cross_entropy(logits, target, reduction="none")

    def sample_weight(self, target: Tensor, *, weight: Tensor) -> Tensor:
        return weight[target]


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(8, 3, generator=generator, dtype=torch.float64), torch.tensor([0, 1, 2, 2, 1, 0, 0, 0])


@pytest.mark.parametrize("counts", [COUNTS, tuple(COUNTS), np.array(COUNTS), torch.tensor(COUNTS), ClassStats(COUNTS)])
def test_counts_may_be_given_in_any_usual_form(counts: Any) -> None:
    bound = BalancedSoftmax().bind(counts)
    assert bound.stats == ClassStats(COUNTS)
    assert torch.equal(bound(*batch()), BalancedSoftmax().bind(COUNTS)(*batch()))


def test_wrong_counts_are_refused() -> None:
    with pytest.raises(DataError, match="1 of 3 classes have no images"):
        BalancedSoftmax().bind([5, 0, 3])
    with pytest.raises(DataError, match="whole numbers"):
        BalancedSoftmax().bind([0.5, 0.5])


def test_unknown_reduction_names_the_nearest() -> None:
    with pytest.raises(UnknownName, match=r"unknown reduction 'weighted-means'; did you mean 'weighted_mean'\?"):
        CrossEntropy().bind(COUNTS, "weighted-means")  # type: ignore[arg-type]


def test_weighted_mean_divides_by_the_weights_and_equals_torch() -> None:
    logits, target = batch()
    weight = 1 / torch.tensor(COUNTS, dtype=torch.float64)
    expected = torch.nn.functional.cross_entropy(logits, target, weight=weight)
    assert_close(Weighted().bind(COUNTS, "weighted_mean")(logits, target), expected)
    assert_close(Weighted().bind(COUNTS, "mean")(logits, target), expected * weight[target].mean())


def test_weighted_mean_does_not_depend_on_the_scale_of_the_weights() -> None:
    logits, target = batch()
    ten_times = [10 * count for count in COUNTS]
    assert_close(
        Weighted().bind(COUNTS, "weighted_mean")(logits, target),
        Weighted().bind(ten_times, "weighted_mean")(logits, target),
    )


def test_parts_of_two_processes_add_up_to_the_whole_batch() -> None:
    logits, target = batch()
    bound = Weighted().bind(COUNTS, "weighted_mean")
    left, right = bound.parts(logits[0::2], target[0::2]), bound.parts(logits[1::2], target[1::2])
    assert_close((left[0] + right[0]) / (left[1] + right[1]), bound(logits, target))


@pytest.mark.parametrize("reduction", ["mean", "weighted_mean"])
def test_parts_with_shares_are_those_of_repeated_samples(reduction: Any) -> None:
    logits, target = batch()
    bound = Weighted().bind(COUNTS, reduction)
    times = torch.tensor([2, 1, 0, 3, 1, 1, 0, 2])
    repeated = bound.parts(logits.repeat_interleave(times, 0), target.repeat_interleave(times))
    assert_close(bound.parts(logits, target, times), repeated)


@pytest.mark.parametrize("reduction", ["mean", "weighted_mean"])
def test_two_shares_of_one_label_are_the_unmixed_loss(reduction: Any) -> None:
    logits, target = batch()
    bound = Weighted().bind(COUNTS, reduction)
    lam = torch.linspace(0, 1, 8)
    first, second = bound.parts(logits, target, lam), bound.parts(logits, target, 1 - lam)
    assert_close((first[0] + second[0]) / (first[1] + second[1]), bound(logits, target), rtol=1e-6, atol=1e-7)


def test_shares_of_a_wrong_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"share must have shape \[8\], got \[\]"):
        CrossEntropy().bind(COUNTS).parts(*batch(), torch.tensor(0.5))


def test_reduction_none_has_no_parts() -> None:
    with pytest.raises(ValueError, match="reduction 'none' has no numerator"):
        CrossEntropy().bind(COUNTS, "none").parts(*batch())


@pytest.mark.parametrize(
    ("logits", "target", "message"),
    [
        (torch.zeros(2, 4), torch.zeros(2).long(), r"\[B, 3\], got torch.float32 \[2, 4\]"),
        (torch.zeros(3), torch.zeros(3).long(), r"\[B, 3\]"),
        (torch.zeros(2, 3).long(), torch.zeros(2).long(), "floating point"),
        (torch.zeros(2, 3), torch.zeros(3).long(), r"target must have shape \[2\], got \[3\]"),
        (torch.zeros(2, 3), torch.zeros(2, 3).long(), r"target must have shape \[2\]"),
        (torch.zeros(2, 3), torch.zeros(2), "integer type, got torch.float32"),
        (torch.zeros(2, 3), torch.zeros(2).bool(), "integer type, got torch.bool"),
    ],
)
def test_wrong_shapes_and_types_are_named(logits: Tensor, target: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BalancedSoftmax().bind(COUNTS)(logits, target)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32])
def test_any_integer_type_of_labels_gives_the_same_loss(dtype: torch.dtype) -> None:
    logits, target = batch()
    bound = Weighted().bind(COUNTS, "weighted_mean")
    assert torch.equal(bound(logits, target.to(dtype)), bound(logits, target))


def test_class_terms_of_a_wrong_shape_are_refused() -> None:
    broken = frozen(type("Broken", (Weighted,), {"class_terms": lambda self, counts: {"weight": counts[1:]}}))()
    with pytest.raises(ValueError, match=r"class term 'weight' has shape \(2,\), expected \(3,\)"):
        broken.bind(COUNTS)


def test_casts_to_half_precision_leave_the_class_terms_exact() -> None:
    # log 5000 in bfloat16 is off by 0.02, which would shift the logits of whole classes.
    bound = BalancedSoftmax().bind([5000, 3])
    expected = torch.tensor([5000.0, 3.0]).log()
    for moved in (bound.half(), bound.bfloat16(), bound.to(torch.float16), bound.float()):
        assert torch.equal(moved.get_buffer("term_log_n"), expected)


def test_binding_under_the_meta_device_keeps_real_class_terms() -> None:
    with torch.device("meta"):
        bound = BalancedSoftmax().bind(COUNTS)
    assert torch.equal(bound(*batch()), BalancedSoftmax().bind(COUNTS)(*batch()))


@pytest.mark.parametrize("smoothing", [-0.1, 1.0, float("nan")])
def test_smoothing_out_of_range_is_refused(smoothing: float) -> None:
    with pytest.raises(ValueError, match="smoothing must be at least 0 and below 1"):
        CrossEntropy(smoothing=smoothing)
    with pytest.raises(TailwiseError, match="loss 'cross_entropy': smoothing"):
        REGISTRY.make("losses", "cross_entropy", smoothing=smoothing)


def test_log_counts_and_log_prior_are_the_same_loss() -> None:
    logits, target = batch()
    shifted = logits + torch.from_numpy(np.log(ClassStats(COUNTS).prior))
    expected = CrossEntropy().bind(COUNTS)(shifted, target)
    assert_close(BalancedSoftmax().bind(COUNTS)(logits, target), expected)


def test_balanced_softmax_predicts_the_prior_from_equal_logits() -> None:
    losses = BalancedSoftmax().bind(COUNTS).double().per_sample(torch.zeros(3, 3).double(), torch.arange(3))
    np.testing.assert_allclose(np.exp(-losses.numpy()), ClassStats(COUNTS).prior, rtol=1e-12)


def test_repr_shows_loss_counts_and_reduction() -> None:
    text = repr(CrossEntropy(smoothing=0.1).bind(COUNTS, "sum"))
    assert "CrossEntropy(smoothing=0.1)" in text
    assert "N=257" in text
    assert "reduction='sum'" in text
