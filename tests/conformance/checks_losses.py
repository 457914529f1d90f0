"""What every loss must do. Each check takes a loss with any hyper-parameters and raises when it does not."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from tailwise.core.registry import REGISTRY
from tailwise.losses.base import BoundLoss, Loss, Reduction
from tests.conformance.cases import check_record as check_component_record

#: All different, not sorted, from one image to a million.
COUNTS = (40, 5000, 1, 300, 1_000_000, 7, 12, 83, 2, 650)
CLASSES = len(COUNTS)


def batch(size: int = 24, scale: float = 3.0, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Random logits and labels with every class among them."""
    rng = np.random.default_rng(3)
    logits = torch.from_numpy(rng.normal(size=(size, CLASSES)) * scale).to(dtype)
    return logits, torch.arange(size) % CLASSES


class WithFeatures(BoundLoss):
    """A loss that needs features, called without: every sample has the same ones."""

    def per_sample(self, logits: Tensor, target: Tensor, features: Tensor | None = None) -> Tensor:
        return super().per_sample(logits, target, logits.new_ones(len(logits), 3) if features is None else features)


def bind(loss: Loss, counts: tuple[int, ...] = COUNTS, reduction: Reduction = "mean") -> BoundLoss:
    """The loss for these counts."""
    bound = loss.bind(counts, reduction)
    return WithFeatures(bound.loss, bound.stats, bound.reduction) if loss.needs_features else bound


def bind_exact(loss: Loss, counts: tuple[int, ...] = COUNTS) -> BoundLoss:
    """The loss with class terms in float64."""
    return bind(loss, counts).double()


def gradient(bound: BoundLoss, logits: Tensor, target: Tensor) -> Tensor:
    """Gradient of the sum over samples."""
    logits = logits.detach().clone().requires_grad_()
    bound.per_sample(logits, target).sum().backward()
    assert logits.grad is not None
    return logits.grad


def check_finite_at_extremes(loss: Loss) -> None:
    """Logits up to 1e4 and counts from 1 to 1e6 give finite losses and gradients, one per sample."""
    for scale in (1.0, 100.0, 1e4):
        logits, target = batch(scale=1.0, dtype=torch.float32)
        logits = logits / logits.abs().max() * scale
        bound = bind(loss)
        values = bound.per_sample(logits, target)
        assert values.shape == target.shape
        assert values.isfinite().all()
        assert gradient(bound, logits, target).isfinite().all()


def check_gradient(loss: Loss) -> None:
    """The gradient equals finite differences in float64."""
    bound = bind_exact(loss)
    logits, target = batch(size=6, scale=1.0)
    assert torch.autograd.gradcheck(lambda z: bound.per_sample(z, target), logits.requires_grad_())


def check_uniform_counts(loss: Loss) -> None:
    """With equal counts and default hyper-parameters, the loss equals the one it declares to reduce to."""
    if loss.reduces_to is None:
        pytest.skip("declares no loss that it equals under equal counts")
    logits, target = batch()
    base = bind_exact(REGISTRY.make("losses", loss.reduces_to), (20,) * CLASSES)
    mine = bind_exact(type(loss)(), (20,) * CLASSES)
    assert_close(mine.per_sample(logits, target), base.per_sample(logits, target), rtol=1e-10, atol=1e-12)
    assert_close(gradient(mine, logits, target), gradient(base, logits, target), rtol=1e-10, atol=1e-12)


def check_class_order(loss: Loss) -> None:
    """Renumbering the classes changes nothing; a formula with fixed label numbers does not survive this."""
    logits, target = batch()
    order = np.random.default_rng(5).permutation(CLASSES)
    renumbered = bind_exact(loss, tuple(COUNTS[old] for old in order))
    new_target = torch.from_numpy(np.argsort(order))[target]
    bound = bind_exact(loss)
    assert_close(
        renumbered.per_sample(logits[:, order], new_target), bound.per_sample(logits, target), rtol=1e-10, atol=1e-12
    )
    assert_close(
        gradient(renumbered, logits[:, order], new_target),
        gradient(bound, logits, target)[:, order],
        rtol=1e-10,
        atol=1e-12,
    )


def check_shift(loss: Loss) -> None:
    """A constant added to all logits of a sample changes its loss exactly if the loss declares so."""
    logits, target = batch()
    bound = bind_exact(loss)
    shifted = bound.per_sample(logits + torch.linspace(-5, 5, len(target), dtype=torch.float64)[:, None], target)
    same = torch.allclose(shifted, bound.per_sample(logits, target), rtol=1e-9, atol=1e-11)
    assert same == loss.shift_invariant


def check_samples_independent(loss: Loss) -> None:
    """The loss of a sample does not depend on the rest of its batch."""
    logits, target = batch()
    bound = bind_exact(loss)
    together = bound.per_sample(logits, target)
    alone = torch.cat([bound.per_sample(logits[i : i + 1], target[i : i + 1]) for i in range(len(target))])
    assert_close(together, alone, rtol=1e-12, atol=1e-12)


def check_pure(loss: Loss) -> None:
    """Two calls agree, and the inputs stay as they were."""
    logits, target = batch()
    before = logits.clone(), target.clone()
    bound = bind_exact(loss)
    assert torch.equal(bound.per_sample(logits, target), bound.per_sample(logits, target))
    assert torch.equal(logits, before[0])
    assert torch.equal(target, before[1])


def check_reductions(loss: Loss) -> None:
    """The four reductions are what their names say, and numerator over denominator is the reduced loss."""
    logits, target = batch()
    values = bind_exact(loss).per_sample(logits, target)
    counts = torch.tensor(COUNTS, dtype=torch.float64)
    weight = loss.sample_weight(target, **loss.class_terms(counts))
    weight_sum = torch.tensor(float(len(target)), dtype=torch.float64) if weight is None else weight.sum()
    expected = {
        "mean": values.sum() / len(target),
        "weighted_mean": values.sum() / weight_sum,
        "sum": values.sum(),
        "none": values,
    }
    for reduction, value in expected.items():
        bound = bind(loss, COUNTS, reduction).double()  # type: ignore[arg-type]
        assert_close(bound(logits, target), value, rtol=1e-12, atol=1e-12)
        if reduction != "none":
            numerator, denominator = bound.parts(logits, target)
            assert numerator.shape == denominator.shape == ()
            assert_close(numerator / denominator, value, rtol=1e-12, atol=1e-12)


def check_precision(loss: Loss) -> None:
    """Half precision is raised to float32 first; float64 stays float64 with or without ``.double()``."""
    logits, target = batch()
    terms = loss.class_terms(torch.tensor(COUNTS, dtype=torch.float64))
    assert all(term.dtype == torch.float64 for term in terms.values())
    exact = bind_exact(loss).per_sample(logits, target)
    assert exact.dtype == torch.float64
    assert not torch.equal(exact.float().double(), exact), "float64 values that went through float32"
    assert_close(bind(loss).per_sample(logits, target), exact, rtol=1e-13, atol=1e-13)
    for half in (torch.float16, torch.bfloat16):
        rounded = logits.to(half)
        value = bind(loss).to(half).per_sample(rounded, target)
        assert value.dtype == torch.float32
        assert_close(value.double(), bind_exact(loss).per_sample(rounded.double(), target), rtol=1e-4, atol=1e-4)


def check_record(loss: Loss) -> None:
    """The loss survives pickle, YAML and plain data; so does what ``bind`` returns."""
    check_component_record(loss, Loss)
    logits, target = batch()
    bound = bind_exact(loss)
    for other in (pickle.loads(pickle.dumps(bound)), copy.deepcopy(bound)):
        assert torch.equal(other(logits, target), bound(logits, target))


def check_compiles(loss: Loss) -> None:
    """Dynamo traces the bound loss as one graph that computes the same values and gradients."""
    logits, target = batch(dtype=torch.float32)
    bound = bind(loss, COUNTS, "weighted_mean")
    torch.compiler.reset()
    compiled = torch.compile(bound, fullgraph=True, backend="eager")
    left, right = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    expected, value = bound(left, target), compiled(right, target)
    assert_close(value, expected)
    assert_close(torch.autograd.grad(value, right), torch.autograd.grad(expected, left))


def check_moves(loss: Loss) -> None:
    """Everything follows ``.to(device)``, nothing enters the state dict, and a cast does not cost precision."""
    bound = bind(loss).to("meta")
    assert all(buffer.is_meta for buffer in bound.buffers())
    assert bound(torch.empty(4, CLASSES, device="meta"), torch.zeros(4, dtype=torch.long, device="meta")).is_meta
    assert not bind(loss).state_dict()
    logits, target = batch()
    returned = bind(loss).half().double()
    assert torch.equal(returned.per_sample(logits, target), bind_exact(loss).per_sample(logits, target))


CHECKS = (
    check_finite_at_extremes,
    check_gradient,
    check_uniform_counts,
    check_class_order,
    check_shift,
    check_samples_independent,
    check_pure,
    check_reductions,
    check_precision,
    check_record,
    check_compiles,
    check_moves,
)
