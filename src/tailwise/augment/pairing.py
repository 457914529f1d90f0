"""Which samples of a batch are mixed with each other, and in which proportion (zhang2018mixup, Eq. 1).

The plan holds a random order of the batch, not a list of partners: each process gets some columns of the plan, and the
ranks of any columns of an order are a random permutation again. Neighbours are never paired by their place, since a
batch need not be shuffled.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from tailwise.augment.base import Draws

#: One proportion for the whole batch, or one for every sample.
Per = Literal["batch", "sample"]


def check_per(value: str) -> None:
    """Refuses a value that is not one of :data:`Per`."""
    if value not in ("batch", "sample"):
        raise ValueError(f"per must be batch or sample, got {value!r}")


def draw_pairs(rng: np.random.Generator, steps: int, batch: int, alpha: float, per: Per) -> Draws:
    """A random order of every batch, and its proportions from Beta(alpha, alpha).

    Args:
        rng: The only source of randomness.
        steps: Steps of the epoch.
        batch: Samples of a step.
        alpha: Both parameters of the Beta distribution, above 0.
        per: How many proportions a step has.

    Returns:
        ``order``, int64 ``[steps, batch]``, and ``lam``, float32 ``[steps]`` or ``[steps, batch]``.
    """
    order = rng.permuted(np.tile(np.arange(batch), (steps, 1)), axis=1)
    lam = rng.beta(alpha, alpha, steps if per == "batch" else (steps, batch))
    return {"order": order, "lam": lam.astype(np.float32)}


def partners(order: Tensor) -> Tensor:
    """A permutation of ``0 .. B - 1``, the partner of every sample, from different numbers ``[B]`` in random order."""
    return order.argsort()


def blend(x: Tensor, partner: Tensor, lam: Tensor) -> Tensor:
    """``lam x + (1 - lam) x[partner]`` in the type of ``x``, computed in float32 or above.

    Args:
        x: Shape ``[B, ...]``.
        partner: int64 ``[B]``.
        lam: One number or ``[B]``.
    """
    share = as_shares(lam, x).to(torch.promote_types(x.dtype, torch.float32)).view(-1, *[1] * (x.ndim - 1))
    return (share * x + (1 - share) * x[partner]).to(x.dtype)


def as_shares(lam: Tensor, x: Tensor) -> Tensor:
    """``lam`` for every sample of ``x``, shape ``[B]``."""
    return lam.expand(x.shape[0])
