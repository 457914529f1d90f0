"""Remix: to whom the label goes, and what the official code comes down to."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tailwise.augment import Mix, Remix
from tailwise.core.registry import REGISTRY
from tailwise.core.spec import SpecError, from_plain
from tailwise.core.stats import ClassStats
from tests.unit.augment import reference

COUNTS = [300, 100, 99, 7]


@settings(deadline=None)
@given(
    counts=st.lists(st.integers(1, 500), min_size=4, max_size=4),
    kappa=st.sampled_from([1.0, 1.5, 3.0, 10.0]),
    tau=st.floats(0, 1),
    per=st.sampled_from(["batch", "sample"]),
    seed=st.integers(0, 99),
)
def test_images_are_mixed_as_in_mixup_and_labels_by_the_printed_rule(
    counts: list[int], kappa: float, tau: float, per: Any, seed: int
) -> None:
    mix = Remix(alpha=0.5, kappa=kappa, tau=tau, per=per)
    image, label = reference.batch_of(8, seed=seed)
    row = reference.row_of(mix.draw(np.random.default_rng(seed), 1, 8))
    mixed, target = mix.bind(ClassStats(counts))(image, label, row)
    np.testing.assert_allclose(mixed, reference.mixup(image, row), rtol=1e-6, atol=1e-7)
    lam = reference.shares(row["lam"], 8)
    for i, share in enumerate(target.lam.tolist()):
        first, second = counts[int(label[i])], counts[int(target.second[i])]
        assert share == reference.remix_share(lam[i], first, second, kappa, tau)


def test_the_boundary_of_the_count_ratio_is_inside_and_that_of_lambda_outside() -> None:
    bound = Remix(kappa=3.0, tau=0.5).bind(ClassStats(COUNTS))
    # Pairs of (class, partner's class); 300 : 100 is exactly three, 300 : 99 more, 100 : 99 less.
    label, order = torch.tensor([0, 1, 2, 3]), torch.tensor([1, 0, 3, 2])
    expected = {0.4: [0.0, 0.4, 0.0, 0.4], 0.5: [0.5, 0.5, 0.5, 0.5], 0.75: [0.75, 1.0, 0.75, 1.0]}
    for lam, shares in expected.items():
        _, target = bound(torch.zeros(4, 3, 2, 2), label, {"order": order, "lam": torch.tensor(lam)})
        assert target.lam.tolist() == pytest.approx(shares)


def test_with_equal_classes_or_tau_zero_it_is_mixup() -> None:
    image, label = reference.batch_of(8)
    for mix, counts in ((Remix(), [50] * 4), (Remix(tau=0.0), COUNTS)):
        row = reference.row_of(mix.draw(np.random.default_rng(3), 1, 8))
        _, target = mix.bind(ClassStats(counts))(image, label, row)
        assert target.lam.tolist() == reference.shares(row["lam"], 8)


def test_the_official_variant_equals_shares_times_a_loss_that_is_already_averaged() -> None:
    rng = np.random.default_rng(0)
    image, label = reference.batch_of(16)
    logits = rng.normal(size=(16, 4))
    differ = []
    official, printed = REGISTRY.make("mixes", "remix_official"), Remix()
    assert official == Remix(labels="batch_mean")
    for seed, mix in itertools.product(range(4), (official, printed)):
        row = reference.row_of(mix.draw(np.random.default_rng(seed), 1, 16))
        _, target = mix.bind(ClassStats(COUNTS))(image, label, row)
        first = reference.cross_entropy(logits, target.first.tolist())
        second = reference.cross_entropy(logits, target.second.tolist())
        lam = target.lam.double().numpy()
        ours = (lam * first + (1 - lam) * second).mean()
        rule = [
            reference.remix_share(float(row["lam"]), COUNTS[int(a)], COUNTS[int(b)], 3.0, 0.5)
            for a, b in zip(target.first, target.second, strict=True)
        ]
        theirs = np.mean([share * first.mean() + (1 - share) * second.mean() for share in rule])
        if mix is official:
            assert ours == pytest.approx(theirs, rel=1e-6)
        else:
            differ.append(abs(ours - theirs))
    assert max(differ) > 0.01


def test_counts_stay_whole_numbers_whatever_the_module_is_cast_to() -> None:
    bound = Remix().bind(ClassStats([2**24 + 1, 3]))
    assert bound.bfloat16().counts.tolist() == [2**24 + 1, 3]
    assert bound.state_dict() == {}


def test_without_class_counts_it_says_what_to_call() -> None:
    image, label = reference.batch_of()
    with pytest.raises(TypeError, match=r"Remix does not define __call__; call what bind\(stats\) returns"):
        Remix()(image, label, {})


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("alpha", 0.0, "alpha must be a positive number, got 0.0"),
        ("kappa", 0.5, "kappa must be at least 1, got 0.5"),
        ("kappa", float("inf"), "kappa must be a finite number, got inf"),
        ("tau", 1.5, "tau must be from 0 to 1, got 1.5"),
        ("tau", float("nan"), "tau must be from 0 to 1, got nan"),
    ],
)
def test_values_outside_their_range_are_refused(field: str, value: float, message: str) -> None:
    with pytest.raises(SpecError) as error:
        from_plain(Mix, {"_type": "remix", field: value}, "mix")
    assert str(error.value) == f"mix: {message}"


def test_unknown_choices_are_refused() -> None:
    with pytest.raises(ValueError, match="labels must be sample or batch_mean, got 'mean'"):
        Remix(labels="mean")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="per must be batch or sample, got 'image'"):
        Remix(per="image")  # type: ignore[arg-type]
