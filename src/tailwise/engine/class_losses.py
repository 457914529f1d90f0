"""Training loss of every class, summed on the device while a run trains; looked at once an epoch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from tailwise.core.types import MixedTarget, Target

#: Its name among the sums of an epoch; no part of an objective can have it, because theirs hold a stroke.
CLASS_LOSSES = "class losses"


def class_losses(logits: Tensor, target: Target) -> Tensor:
    """Plain cross-entropies of a batch, summed by class, and how many there were.

    The measure is the same whatever the recipe minimises, so that recipes can be compared by it. A mixed image counts
    for the class of its first label, with its mixed loss.

    Args:
        logits: Those that would predict, ``[B, C]``; no gradient flows into them.
        target: Their labels.

    Returns:
        Float32 ``[2, C]``: sums, numbers of images.
    """
    logits = logits.detach().float()
    label = target.first if isinstance(target, MixedTarget) else target
    loss = functional.cross_entropy(logits, label, reduction="none")
    if isinstance(target, MixedTarget):
        other = functional.cross_entropy(logits, target.second, reduction="none")
        loss = target.lam * loss + (1 - target.lam) * other
    rows = torch.stack([loss.float(), torch.ones_like(loss, dtype=torch.float32)])
    sums = torch.zeros(2, logits.shape[1], device=logits.device, dtype=torch.float32)
    return sums.index_add_(1, label, rows)


def record_of(sums: Tensor) -> dict[str, Any]:
    """What the log of an epoch holds: ``loss`` (None for a class that was not shown) and ``images`` of every class.

    Args:
        sums: ``[2, C]``, over all steps and processes.
    """
    totals, numbers = (row.tolist() for row in sums.double().cpu())
    means = [total / number if number else None for total, number in zip(totals, numbers, strict=True)]
    return {"loss": means, "images": [int(number) for number in numbers]}
