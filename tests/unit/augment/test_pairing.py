"""Partners and proportions: what is drawn, and what it means for one process of several."""

from __future__ import annotations

from collections import Counter
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as statistics

from tailwise.augment.pairing import as_shares, blend, draw_pairs, partners

pers = st.sampled_from(["batch", "sample"])


@given(batch=st.integers(1, 30), steps=st.integers(1, 4), alpha=st.floats(0.01, 100), per=pers, seed=st.integers(0, 9))
def test_every_row_is_an_order_of_the_batch_and_lambda_is_in_range(
    batch: int, steps: int, alpha: float, per: Literal["batch", "sample"], seed: int
) -> None:
    draws = draw_pairs(np.random.default_rng(seed), steps, batch, alpha, per)
    assert draws["order"].dtype == np.int64
    assert draws["lam"].dtype == np.float32
    assert draws["lam"].shape == ((steps,) if per == "batch" else (steps, batch))
    assert ((draws["lam"] >= 0) & (draws["lam"] <= 1)).all()
    for row in draws["order"]:
        assert sorted(row.tolist()) == list(range(batch))


@given(world=st.integers(1, 4), share=st.integers(1, 8), rank=st.integers(0, 3), seed=st.integers(0, 9))
def test_partners_of_any_share_are_a_permutation_of_the_share(world: int, share: int, rank: int, seed: int) -> None:
    order = draw_pairs(np.random.default_rng(seed), 1, world * share, 1.0, "batch")["order"][0]
    mine = partners(torch.from_numpy(order[min(rank, world - 1) :: world].copy()))
    assert sorted(mine.tolist()) == list(range(share))


def test_every_pairing_of_a_share_is_equally_likely() -> None:
    orders = draw_pairs(np.random.default_rng(0), 6000, 6, 1.0, "batch")["order"][:, 1::2]
    seen = Counter(tuple(partners(torch.from_numpy(row.copy())).tolist()) for row in orders)
    assert len(seen) == 6
    assert statistics.chisquare(list(seen.values())).pvalue > 1e-4


@pytest.mark.parametrize("alpha", [0.2, 1.0, 2.0])
def test_lambda_is_beta_distributed(alpha: float) -> None:
    lam = draw_pairs(np.random.default_rng(0), 200, 100, alpha, "sample")["lam"]
    deciles = statistics.beta(alpha, alpha).ppf(np.linspace(0, 1, 11))
    assert statistics.chisquare(np.histogram(lam, deciles)[0]).pvalue > 1e-4


@settings(deadline=None)
@given(seed=st.integers(0, 50), one=st.booleans())
def test_a_blend_is_the_printed_sum(seed: int, one: bool) -> None:
    rng = np.random.default_rng(seed)
    x, partner, lam = rng.normal(size=(5, 3, 2)), rng.permutation(5), rng.random(5)
    lam = np.full(5, lam[0]) if one else lam
    given_lam = torch.tensor(lam[0]) if one else torch.from_numpy(lam)
    mixed = blend(torch.from_numpy(x), torch.from_numpy(partner), given_lam)
    for i in range(5):
        np.testing.assert_allclose(mixed[i], lam[i] * x[i] + (1 - lam[i]) * x[partner[i]], rtol=1e-12)


def test_a_blend_of_halves_is_rounded_once() -> None:
    x = torch.randn(64, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    partner, lam = torch.arange(64).flip(0), torch.tensor(0.3)
    exact = 0.3 * x.double() + 0.7 * x[partner].double()
    # Half a step of bfloat16; rounding every product and the sum would come to more.
    torch.testing.assert_close(blend(x, partner, lam).double(), exact, rtol=2**-8, atol=1e-6)
    parts = 0.3 * x + 0.7 * x[partner]
    assert bool(((parts.double() - exact).abs() > 2**-8 * exact.abs() + 1e-6).any())


def test_gradients_of_a_blend_go_to_both_partners() -> None:
    x = torch.zeros(2, 1, dtype=torch.float64, requires_grad=True)
    (blend(x, torch.tensor([1, 0]), torch.tensor(0.25)) * torch.tensor([[1.0], [10.0]])).sum().backward()
    assert x.grad is not None
    assert x.grad.flatten().tolist() == [0.25 + 0.75 * 10, 0.75 + 0.25 * 10]


def test_one_lambda_stands_for_every_sample() -> None:
    assert as_shares(torch.tensor(0.5), torch.zeros(3, 2)).tolist() == [0.5] * 3
    assert as_shares(torch.tensor([0.5, 0.25]), torch.zeros(2)).tolist() == [0.5, 0.25]
