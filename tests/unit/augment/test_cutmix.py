"""CutMix against the arithmetic of the paper's code."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tailwise.augment import CutMix, Mix
from tailwise.core.spec import SpecError, from_plain
from tests.unit.augment import reference


@settings(deadline=None)
@given(per=st.sampled_from(["batch", "sample"]), side=st.integers(1, 33), seed=st.integers(0, 999))
def test_box_and_share_are_those_of_the_papers_code(per: Any, side: int, seed: int) -> None:
    mix = CutMix(per=per)
    image, label = reference.batch_of(6, side=side, seed=seed)
    row = reference.row_of(mix.draw(np.random.default_rng(seed), 1, 6))
    mixed, target = mix(image, label, row)
    expected, area = reference.cutmix(image, row)
    np.testing.assert_array_equal(mixed, expected)
    np.testing.assert_allclose(target.lam, area, atol=1e-6)
    assert target.second.tolist() == label[reference.partner_of(row["order"])].tolist()


def test_the_share_is_the_part_of_the_pixels_that_is_left() -> None:
    mix = CutMix(per="sample")
    image = torch.arange(64.0).view(-1, 1, 1, 1).expand(64, 3, 16, 16)
    row = reference.row_of(mix.draw(np.random.default_rng(0), 1, 64))
    mixed, target = mix(image, torch.arange(64), row)
    own = (mixed == image).double().mean((1, 2, 3))
    # A sample may be its own partner.
    kept = torch.where(target.second == target.first, target.lam.double(), own)
    np.testing.assert_allclose(target.lam, kept, atol=1e-6)
    assert 0 < float(target.lam.min()) < 0.5


def test_the_centre_may_be_at_the_very_border() -> None:
    image, label = reference.batch_of(2, side=7)
    for x, y in ((0.0, 0.0), (np.nextafter(np.float32(1), np.float32(0)), 0.0)):
        row = {"order": torch.tensor([1, 0]), "lam": torch.tensor(0.5)}
        row |= {"x": torch.tensor(x, dtype=torch.float32), "y": torch.tensor(y, dtype=torch.float32)}
        mixed, target = CutMix()(image, label, row)
        np.testing.assert_array_equal(mixed, reference.cutmix(image, row)[0])
        assert (target.lam < 1).all()


@pytest.mark.parametrize(("probability", "low", "high"), [(0.0, 0, 0), (0.5, 420, 580), (1.0, 999, 1000)])
def test_that_many_steps_are_mixed(probability: float, low: int, high: int) -> None:
    lam = CutMix(probability=probability).draw(np.random.default_rng(0), 1000, 4)["lam"]
    assert low <= (lam < 1).sum() <= high


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("alpha", -1.0, "alpha must be a positive number, got -1.0"),
        ("probability", 1.1, "probability must be from 0 to 1, got 1.1"),
    ],
)
def test_values_outside_their_range_are_refused(field: str, value: float, message: str) -> None:
    with pytest.raises(SpecError) as error:
        from_plain(Mix, {"_type": "cutmix", field: value}, "mix")
    assert str(error.value) == f"mix: {message}"


def test_unknown_choices_are_refused() -> None:
    with pytest.raises(ValueError, match="per must be batch or sample, got 'box'"):
        CutMix(per="box")  # type: ignore[arg-type]
