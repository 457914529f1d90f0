"""Changes of the classifier and the scaled head against slow implementations of the printed equations."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from tailwise.core.stats import ClassStats
from tailwise.heads.base import HeadModule
from tailwise.heads.linear import Linear, LinearModule
from tailwise.heads.lws import LWS
from tailwise.posthoc import NCM, LogitAdjustment, TauNorm, TrainingFeatures
from tests.reference import posthocs as reference

RNG = np.random.default_rng(0)
COUNTS = [40, 9, 21, 3]
LABELS = np.repeat(np.arange(4), COUNTS)
MEANS = RNG.normal(size=(4, 7))
TRAIN = np.maximum(MEANS[LABELS] + RNG.normal(size=(len(LABELS), 7)), 0)
TEST = np.maximum(MEANS[[0, 1, 2, 3, 3, 1]] + RNG.normal(size=(6, 7)), 0)
STATS = ClassStats(COUNTS)


def head() -> LinearModule:
    torch.manual_seed(0)
    module = Linear().build(7, 4).double()
    with torch.no_grad():
        module.fc.weight.mul_(torch.tensor([[4.0], [2.0], [3.0], [0.5]]))
    return module


def values(module: HeadModule) -> np.ndarray:
    with torch.no_grad():
        return module.predict(module(torch.from_numpy(TEST))).numpy()


@pytest.mark.parametrize(("tau", "bias"), list(itertools.product((-0.5, 0.0, 0.3, 0.7, 1.0, 2.0), ("keep", "drop"))))
def test_tau_norm(tau: float, bias: str) -> None:
    module = head()
    weight, offset = module.fc.weight.detach().numpy(), module.fc.bias.detach().numpy()
    expected = reference.tau_norm(weight, offset, TEST, tau, keep_bias=bias == "keep")
    assert_allclose(values(TauNorm(tau=tau, bias=bias).apply(module, STATS)), expected, rtol=1e-12)  # pyright: ignore


@pytest.mark.parametrize("tau", [-1.0, 0.0, 0.5, 1.0])
def test_logit_adjustment(tau: float) -> None:
    module = head()
    expected = reference.logit_adjustment(values(module), COUNTS, tau)
    assert_allclose(values(LogitAdjustment(tau=tau).apply(module, STATS)), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("similarity", "form"), list(itertools.product(("cosine", "euclidean"), ("raw", "normalized", "centered")))
)
def test_nearest_class_mean(similarity: str, form: str) -> None:
    features = TrainingFeatures(torch.from_numpy(TRAIN), torch.from_numpy(LABELS))
    found = values(NCM(similarity=similarity, features=form).apply(head(), STATS, features))  # pyright: ignore
    expected = reference.nearest_class_mean(TRAIN, LABELS, TEST, similarity, form)
    if similarity == "euclidean":  # up to a number that is the same for all classes
        found, expected = found - found[:, :1], expected - expected[:, :1]
    assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


def test_the_distance_to_means_of_unit_length_ranks_classes_as_the_cosine_does() -> None:
    features = TrainingFeatures(torch.from_numpy(TRAIN), torch.from_numpy(LABELS))
    cosine = values(NCM().apply(head(), STATS, features))
    means = np.stack([TRAIN[c == LABELS].mean(0) for c in range(4)])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    distance = ((TEST[:, None] - means[None]) ** 2).sum(2)
    assert np.array_equal(np.argsort(distance, axis=1), np.argsort(-cosine, axis=1))


@pytest.mark.parametrize("scale_bias", [True, False])
def test_learnable_weight_scaling(scale_bias: bool) -> None:
    torch.manual_seed(0)
    module = LWS(scale_bias=scale_bias).build(7, 4).double()
    with torch.no_grad():
        module.scale.copy_(torch.tensor([0.5, 2.0, 1.0, -3.0]))
    weight, bias = module.fc.weight.detach().numpy(), module.fc.bias.detach().numpy()
    expected = reference.scaled(weight, bias, module.scale.detach().numpy(), TEST, scale_bias=scale_bias)
    assert_allclose(values(module), expected, rtol=1e-12)
    assert_allclose(module.classifier_weight.detach().numpy(), module.scale.detach().numpy()[:, None] * weight)
