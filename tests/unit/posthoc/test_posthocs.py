"""Limits, mistakes and names of changes of the classifier."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
import torch

from tailwise.core.errors import DataError, TailwiseError
from tailwise.core.stats import ClassStats
from tailwise.heads import LWS, Cosine, Linear
from tailwise.posthoc import NCM, LogitAdjustment, TauNorm, TrainingFeatures

STATS = ClassStats([9, 3])
MAPS = torch.randn(5, 4, 2, 2, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("head", [Linear(), Linear(bias=False), LWS()], ids=lambda head: type(head).__name__)
def test_tau_0_is_the_identity(head: Any) -> None:
    module = head.build(4, 2)
    same = TauNorm(tau=0.0, bias="keep").apply(module, STATS)
    assert torch.equal(same(MAPS)["main"], module(MAPS)["main"])
    changed = TauNorm(tau=1e-3, bias="keep").apply(module, STATS)
    assert not torch.equal(changed(MAPS)["main"], module(MAPS)["main"])


def test_tau_1_gives_vectors_of_unit_length_without_a_bias() -> None:
    changed: Any = TauNorm().apply(Linear().build(4, 2), STATS)
    torch.testing.assert_close(changed.fc.weight.norm(dim=1), torch.ones(2))
    assert torch.equal(changed.fc.bias, torch.zeros(2))


def test_a_class_vector_of_length_0_stays() -> None:
    head = Linear().build(4, 2)
    with torch.no_grad():
        head.fc.weight[1] = 0.0
    logits = TauNorm().apply(head, STATS)(MAPS)["main"]
    assert logits.isfinite().all()
    assert torch.equal(logits[:, 1], torch.zeros(5))


def test_a_head_without_a_linear_layer_is_refused() -> None:
    message = (
        "tau_norm rescales a linear classifier, and CosineModule has none; a head with one is linear or lws "
        "(--with head=linear)"
    )
    head = Cosine().build(4, 2)
    for call in (lambda: TauNorm().check(head), lambda: TauNorm().apply(head, STATS)):
        with pytest.raises(TailwiseError, match=f"^{re.escape(message)}$"):
            call()
    LogitAdjustment().check(head)
    NCM().check(head)


def test_logit_adjustment_with_tau_0_is_the_identity_and_keeps_the_head_s_own_outputs() -> None:
    head = Cosine().build(4, 2)
    same = LogitAdjustment(tau=0.0).apply(head, STATS)
    assert torch.equal(same.predict(same(MAPS)), head(MAPS)["main"])
    other = LogitAdjustment().apply(head, STATS)
    assert torch.equal(other(MAPS)["main"], head(MAPS)["main"])
    assert other.names == head.names
    shift = other.predict(other(MAPS)) - head(MAPS)["main"]
    torch.testing.assert_close(shift, torch.tensor([-math.log(0.75), -math.log(0.25)]).expand(5, 2))


def test_balanced_counts_leave_every_decision_to_the_head() -> None:
    head = Linear().build(4, 2)
    changed = LogitAdjustment(tau=3.0).apply(head, ClassStats([5, 5]))
    assert torch.equal(changed.predict(changed(MAPS)).argmax(1), head(MAPS)["main"].argmax(1))


def test_ncm_recognises_separate_clusters_of_any_size() -> None:
    values = torch.tensor([[9.0, 0, 0, 0]] * 9 + [[0, 0, 0, 0.1]] * 3)
    labels = torch.tensor([0] * 9 + [1] * 3)
    test = torch.tensor([[8.0, 0.1, 0, 0], [0, 0, 0.01, 0.2]])
    for posthoc in (NCM(), NCM(features="normalized"), NCM(similarity="euclidean", features="centered")):
        head = posthoc.apply(Linear().build(4, 2), STATS, TrainingFeatures(values, labels))
        assert head(test)["main"].argmax(1).tolist() == [0, 1], posthoc


def test_a_feature_of_length_0_gives_finite_logits() -> None:
    values, labels = torch.zeros(4, 4), torch.tensor([0, 0, 1, 1])
    for posthoc in (NCM(), NCM(similarity="euclidean", features="normalized"), NCM(features="centered")):
        head = posthoc.apply(Linear().build(4, 2), STATS, TrainingFeatures(values, labels))
        assert head(torch.zeros(3, 4))["main"].isfinite().all()


def test_a_class_without_features_is_named() -> None:
    features = TrainingFeatures(torch.ones(3, 4), torch.tensor([0, 0, 2]))
    with pytest.raises(DataError, match=r"^2 of 4 classes have no features \(labels \[1, 3\]\)$"):
        NCM().apply(Linear().build(4, 4), ClassStats([3, 2, 2, 1]), features)
    with pytest.raises(DataError, match=r"^ncm needs the features of the training images$"):
        NCM().apply(Linear().build(4, 2), STATS)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: TauNorm(tau=math.inf), "tau must be a finite number, got inf"),
        (lambda: TauNorm(tau=math.nan), "tau must be a finite number, got nan"),
        (lambda: TauNorm(bias="zero"), "bias must be drop or keep, got 'zero'"),  # pyright: ignore
        (lambda: LogitAdjustment(tau=-math.inf), "tau must be a finite number, got -inf"),
        (lambda: NCM(similarity="dot"), "similarity must be cosine or euclidean, got 'dot'"),  # pyright: ignore
        (lambda: NCM(features="l2"), "features must be raw, normalized or centered, got 'l2'"),  # pyright: ignore
    ],
)
def test_values_out_of_range_are_refused(build: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        build()


@pytest.mark.parametrize(
    ("posthoc", "label"),
    [
        (TauNorm(), "tau_norm(tau=1)"),
        (TauNorm(tau=0.7), "tau_norm(tau=0.7)"),
        (TauNorm(tau=0, bias="keep"), "tau_norm(tau=0, bias='keep')"),
        (LogitAdjustment(tau=1e-9), "logit_adjustment(tau=1e-09)"),
        (NCM(), "ncm"),
        (NCM(features="normalized"), "ncm(features='normalized')"),
        (NCM(similarity="euclidean", features="centered"), "ncm_official"),
    ],
)
def test_labels_name_what_differs_from_the_defaults(posthoc: Any, label: str) -> None:
    assert posthoc.label == label
