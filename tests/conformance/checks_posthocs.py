"""What every change of the classifier must do. Each check takes one with any hyper-parameters and raises when it does
not.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.testing import assert_close

from tailwise.core.spec import from_plain
from tailwise.core.stats import ClassStats
from tailwise.heads.base import HeadModule
from tailwise.heads.linear import Linear, LinearModule
from tailwise.posthoc.base import PostHoc, TrainingFeatures
from tests.conformance.cases import check_record as check_component_record

FEATURES, CLASSES, BATCH = 12, 5, 6
COUNTS = np.array((50, 7, 200, 3, 20))


def maps() -> Tensor:
    """Feature maps as they come out of a rectifier."""
    return torch.randn(BATCH, FEATURES, 3, 3, generator=torch.Generator().manual_seed(0)).relu()


def trained(order: NDArray[np.int64] | None = None) -> LinearModule:
    """A linear head with class vectors of different lengths; ``order`` exchanges its classes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        head = Linear().build(FEATURES, CLASSES)
    with torch.no_grad():
        head.fc.weight.mul_(torch.tensor(COUNTS[:, None] ** 0.5, dtype=torch.float32))
        head.fc.bias.copy_(torch.arange(CLASSES))
        if order is not None:
            head.fc.weight.copy_(head.fc.weight[torch.from_numpy(order)])
            head.fc.bias.copy_(head.fc.bias[torch.from_numpy(order)])
    return head.eval()


def features(order: NDArray[np.int64] | None = None) -> TrainingFeatures:
    """Features of the training images; ``order`` exchanges their labels."""
    labels = torch.from_numpy(np.repeat(np.arange(CLASSES), COUNTS))
    generator = torch.Generator().manual_seed(2)
    means = torch.randn(CLASSES, FEATURES, generator=generator)
    values = (means[labels] + torch.randn(len(labels), FEATURES, generator=generator)).relu()
    if order is not None:
        labels = torch.from_numpy(np.argsort(order))[labels]
    return TrainingFeatures(values, labels)


def apply(posthoc: PostHoc, order: NDArray[np.int64] | None = None) -> HeadModule:
    """The changed head in evaluation mode."""
    counts = COUNTS if order is None else COUNTS[order]
    return posthoc.apply(trained(order), ClassStats(counts), features(order)).eval()


def predict(head: HeadModule, of: Tensor | None = None) -> Tensor:
    """Test-time logits of a head."""
    return head.predict(head(maps() if of is None else of)).detach()


def check_logits(posthoc: PostHoc) -> None:
    """Maps and pooled features give the same finite logits [B, C]."""
    head = apply(posthoc)
    logits = predict(head)
    assert logits.shape == (BATCH, CLASSES)
    assert logits.isfinite().all()
    assert_close(predict(head, HeadModule.pool(maps())), logits, rtol=1e-5, atol=1e-5)
    assert head.classifier_weight.shape == (CLASSES, FEATURES)


def check_leaves_the_head(posthoc: PostHoc) -> None:
    """The trained head keeps its weights and its mode, and shares no memory with the changed one."""
    head = trained().train()
    before = copy.deepcopy(head.state_dict())
    posthoc.check(head)
    changed = posthoc.apply(head, ClassStats(COUNTS), features()).eval()
    with torch.no_grad():
        for value in (*changed.parameters(), *changed.buffers()):
            value.add_(1.0)
    assert head.training
    assert all(torch.equal(value, before[name]) for name, value in head.state_dict().items())


def check_deterministic(posthoc: PostHoc) -> None:
    """The same head, counts and features give the same logits, whatever the generators hold."""
    torch.manual_seed(0)
    first = predict(apply(posthoc))
    torch.manual_seed(1)
    assert torch.equal(predict(apply(posthoc)), first)


def check_class_order(posthoc: PostHoc) -> None:
    """Classes in another order have the same logits in that order."""
    order = np.array((3, 0, 4, 2, 1))
    assert_close(predict(apply(posthoc, order)), predict(apply(posthoc))[:, order], rtol=1e-5, atol=1e-5)


def check_samples_independent(posthoc: PostHoc) -> None:
    """The logits of an image do not depend on its batch."""
    head = apply(posthoc)
    alone = torch.cat([predict(head, maps()[number : number + 1]) for number in range(BATCH)])
    assert_close(predict(head), alone, rtol=1e-5, atol=1e-5)


def check_precision(posthoc: PostHoc) -> None:
    """Under bfloat16 autocast the logits stay near those in float32; a float64 head stays in float64."""
    head = apply(posthoc)
    expected = predict(head)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = predict(head)
    assert_close(value.float(), expected, rtol=0, atol=0.03 * float(expected.abs().max()))
    double = TrainingFeatures(features().values.double(), features().labels)
    precise = predict(posthoc.apply(trained().double(), ClassStats(COUNTS), double).eval(), maps().double())
    assert precise.dtype == torch.float64
    assert_close(precise.float(), expected, rtol=1e-4, atol=1e-5)


def check_label(posthoc: PostHoc) -> None:
    """The label is what the command line takes back."""
    assert from_plain(PostHoc, posthoc.label) == posthoc


def check_record(posthoc: PostHoc) -> None:
    """The change survives pickle, YAML and plain data."""
    check_component_record(posthoc, PostHoc)


CHECKS = (
    check_logits,
    check_leaves_the_head,
    check_deterministic,
    check_class_order,
    check_samples_independent,
    check_precision,
    check_label,
    check_record,
)
