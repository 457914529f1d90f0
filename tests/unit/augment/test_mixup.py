"""Input mixup against the printed equation."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tailwise.augment import Mix, Mixup
from tailwise.core.errors import TailwiseError
from tailwise.core.registry import REGISTRY
from tailwise.core.spec import SpecError, from_plain
from tests.unit.augment import reference


@settings(deadline=None)
@given(per=st.sampled_from(["batch", "sample"]), size=st.integers(1, 9), seed=st.integers(0, 99))
def test_images_and_labels_are_mixed_in_the_same_proportion(
    per: Literal["batch", "sample"], size: int, seed: int
) -> None:
    mix = Mixup(alpha=0.7, per=per)
    image, label = reference.batch_of(size, seed=seed)
    row = reference.row_of(mix.draw(np.random.default_rng(seed), 1, size))
    mixed, target = mix(image, label, row)
    np.testing.assert_allclose(mixed, reference.mixup(image, row), rtol=1e-6, atol=1e-7)
    assert target.first.tolist() == label.tolist()
    assert target.second.tolist() == [int(label[other]) for other in reference.partner_of(row["order"])]
    assert target.lam.tolist() == reference.shares(row["lam"], size)


def test_a_batch_that_is_sorted_by_class_is_paired_across_classes() -> None:
    # Pairing neighbours would give 3 of 4 images a partner of their own class here.
    label = np.repeat(np.arange(32), 4)
    orders = Mixup().draw(np.random.default_rng(0), 50, 128)["order"]
    same = np.mean([label == label[np.argsort(order)] for order in orders])
    assert same < 0.05


def test_lambda_is_one_number_a_step_or_one_a_sample() -> None:
    rng = np.random.default_rng(0)
    assert Mixup().draw(rng, 5, 8)["lam"].shape == (5,)
    assert REGISTRY.make("mixes", "mixup_per_sample").draw(rng, 5, 8)["lam"].shape == (5, 8)
    assert from_plain(Mix, "mixup-per-sample") == Mixup(per="sample")


@pytest.mark.parametrize("alpha", [0, -1.0, float("inf"), float("nan")])
def test_alpha_must_be_positive(alpha: float) -> None:
    with pytest.raises(SpecError) as error:
        from_plain(Mix, {"_type": "mixup", "alpha": alpha}, "stages[0].mix")
    assert str(error.value) == f"stages[0].mix: alpha must be a positive number, got {float(alpha)}"


def test_unknown_choices_are_refused() -> None:
    with pytest.raises(TailwiseError) as error:
        REGISTRY.make("mixes", "mixup", per="image")
    assert str(error.value) == "mix 'mixup': per must be batch or sample, got 'image'"
    with pytest.raises(SpecError, match="'samples' is not allowed; one of batch, sample; did you mean 'sample'"):
        from_plain(Mix, "mixup(per='samples')")
