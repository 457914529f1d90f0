"""The class frequencies that a trained network's logits are of, by the loss and sampler of its last stage."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tailwise.core.errors import TailwiseError
from tailwise.core.stats import ClassStats
from tailwise.engine.recipe import Recipe
from tailwise.losses.balanced_softmax import BalancedSoftmax
from tailwise.losses.cross_entropy import CrossEntropy
from tailwise.losses.logit_adjustment import LogitAdjustment
from tailwise.objectives.classification import Classification


def logits_prior(recipe: Recipe, stats: ClassStats) -> NDArray[np.float64]:
    r"""The prior ``[C]`` under which the softmax of the network's logits is the best guess, sum 1.

    It is what the sampler shows, for cross-entropy; divided by :math:`n_c^\tau` for a loss that adjusts its logits by
    :math:`\tau \log n_c` (balanced softmax is :math:`\tau = 1`).

    Raises:
        TailwiseError: The last stage has another loss, several, or mixes labels by the class counts: what prior its
            logits are of does not follow from the recipe.
    """
    stage = recipe.stages[-1]
    objective, stream = stage.objective[0], next(iter(stage.streams.values()))
    loss = objective.loss if isinstance(objective, Classification) else None
    mixed = stage.mix is not None and stage.mix.name not in ("mixup", "cutmix")
    if isinstance(loss, CrossEntropy):
        tau = 0.0
    elif isinstance(loss, BalancedSoftmax):
        tau = 1.0
    elif isinstance(loss, LogitAdjustment):
        tau = loss.tau
    else:
        tau = None
    if tau is None or mixed or len(stage.objective) > 1 or len(stage.streams) > 1 or stage.feature_aug is not None:
        what = f"the loss {loss.name!r}" if loss is not None and tau is None else "the last stage of its recipe"
        raise TailwiseError(
            f"the prior of the logits of {recipe.name!r} does not follow from {what}; say which it is with "
            "--logits-prior train or --logits-prior uniform, or predict without --prior"
        )
    mass = stream.sampler.class_mass(stats, 1.0) * stats.prior**-tau
    return mass / mass.sum()
