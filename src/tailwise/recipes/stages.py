"""Trainings in two stages, made of a recipe with one: deferred re-balancing, classifiers trained anew, an end without
mixup.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from tailwise.augment.base import FeatureAug, Mix
from tailwise.engine.recipe import Optim, Recipe, Stage, Stream
from tailwise.engine.rescale import with_epochs
from tailwise.engine.schedule import Cosine, MultiStep, Schedule
from tailwise.heads.linear import Linear
from tailwise.heads.lws import LWS
from tailwise.losses.base import Loss
from tailwise.losses.cross_entropy import CrossEntropy
from tailwise.objectives.base import Objective
from tailwise.objectives.classification import Classification
from tailwise.recipes.base import SMALL_IMAGE, replace_stage
from tailwise.samplers.base import Sampler
from tailwise.samplers.power import Power

#: paper: as printed; official: as the authors' code runs.
Variant = Literal["paper", "official"]
Reduction = Literal["mean", "weighted_mean"]

#: The epochs that ``epoch`` counts in; recipes of another length are divided in the same proportion.
LENGTH = 200


def drw(recipe: Recipe, loss: Loss, reduction: Reduction = "mean", *, epoch: int = 160) -> Recipe:
    """Deferred re-weighting: the recipe's own loss first, another one for the rest (cao2019ldam, Algorithm 1).

    Optimiser, momentum and schedule go on without a break.

    Args:
        recipe: With one stage.
        loss: Of the second stage.
        reduction: Of the second stage; the authors' code of class-weighted cross-entropies has ``weighted_mean``.
        epoch: Epochs of the first stage out of 200: with 160, epoch 161 is the first of the second stage. That is how
            the code of cao2019ldam runs, and that of zhang2021bag for cross-entropies and focal losses; for LDAM the
            latter begins one epoch earlier (159).

    Raises:
        ValueError: The recipe has several stages, or one that cannot be divided.
    """
    stage = _only_stage(recipe)
    return deferred(recipe, epoch, objective=_with_loss(stage, loss, reduction))


def drs(recipe: Recipe, sampler: Sampler, *, epoch: int = 160) -> Recipe:
    """Deferred re-sampling: the recipe's own sampler first, another one for the rest (zhang2021bag, Table 7).

    Args:
        recipe: With one stage.
        sampler: Of the second stage, for its first stream.
        epoch: As for :func:`drw`.

    Raises:
        ValueError: As :func:`drw`.
    """
    return deferred(recipe, epoch, streams=_with_sampler(_only_stage(recipe), sampler))


def drw_drs(recipe: Recipe, loss: Loss, reduction: Reduction, sampler: Sampler, *, epoch: int = 160) -> Recipe:
    """Deferred re-weighting and re-sampling at once (zhang2021bag, Table 9); see :func:`drw` and :func:`drs`."""
    stage = _only_stage(recipe)
    objective, streams = _with_loss(stage, loss, reduction), _with_sampler(stage, sampler)
    return deferred(recipe, epoch, objective=objective, streams=streams)


def crt(recipe: Recipe, *, variant: Variant = "paper", sampler: Sampler | None = None) -> Recipe:
    """Classifier re-training: a stage that trains a new head on the frozen backbone (kang2020decoupling, Sec. 4).

    The stage has cross-entropy, class-balanced sampling, plain images and an optimiser of its own. On full-size images
    it follows the paper: 10 epochs after 90, the learning rate restarted with a cosine schedule. The paper has no small
    images; for these the stage is that of the code of zhang2021bag: 30 epochs after 200, rate 0.1 divided by 10 at 10
    and at 20, five epochs of warm-up. Recipes of other lengths get the same shares.

    Both codes leave the BatchNorm layers of the frozen backbone in training mode, so their statistics move, and step
    the schedule before the epoch; ``official`` does the same, on full-size images also without Nesterov momentum.
    ``paper`` keeps the backbone as it is.

    Args:
        recipe: What comes before; its last stage is the pattern.
        variant: ``"paper"`` or ``"official"``.
        sampler: None: class-balanced, with replacement; in the official variant on full-size images every class shows
            all of its images before one returns.
    """
    return _classifier(recipe, variant, sampler, 10, trainable="head", reset=("head",))


def lws(recipe: Recipe, *, variant: Variant = "paper", sampler: Sampler | None = None) -> Recipe:
    """Learnable weight scaling: a stage that trains one factor for each class (kang2020decoupling, Sec. 4).

    The head becomes :class:`~tailwise.heads.lws.LWS`; with its factors frozen, the stages before give what they gave
    with the linear head. The added stage is that of :func:`crt`, but nothing is reset, and the official code has 5
    epochs after 90 on full-size images.

    Args:
        recipe: With a linear head and stages that train everything.
        variant: As for :func:`crt`.
        sampler: As for :func:`crt`.

    Raises:
        ValueError: The head is not linear, or a stage trains a part of the network only.
    """
    if not isinstance(recipe.head, Linear):
        raise ValueError(f"lws scales the classes of a linear head, and the recipe's is {recipe.head.name!r}")
    if any(stage.trainable != "all" for stage in recipe.stages):
        raise ValueError("lws comes after stages that train everything, and one of the recipe's trains a part only")
    stages = tuple(dataclasses.replace(stage, trainable=r"(?!head\.scale)") for stage in recipe.stages)
    recipe = dataclasses.replace(recipe, head=LWS(bias=recipe.head.bias), stages=stages)
    return _classifier(recipe, variant, sampler, 10 if variant == "paper" else 5, trainable=r"head\.scale")


def after_mixup(
    recipe: Recipe,
    mix: Mix | FeatureAug,
    *,
    epochs: int | None = None,
    fine_tune: int | None = None,
    variant: Variant = "paper",
) -> Recipe:
    """A training with mixed images or features and a short one without (zhang2021bag, Table 6).

    The paper prints neither length nor rates of the second stage and calls 200 epochs the length of all trainings. Its
    code trains 400 epochs with mixup, the milestones doubled and the warm-up as it was, and in its third stage 20
    epochs without, with a hundredth of the rate, divided by 10 after 8 and after 16; both is taken over here.

    Args:
        recipe: With one stage.
        mix: Of the first stage.
        epochs: Of the first stage; None: twice those of the recipe.
        fine_tune: Epochs of the second stage; None: a twentieth of the first.
        variant: ``official`` divides the rate one epoch earlier, as code that steps its schedule before the epoch does.

    Raises:
        ValueError: As :func:`drw`.
    """
    schedule = _optim(recipe).schedule
    _only_stage(recipe)
    recipe = with_epochs(recipe, epochs or 2 * recipe.epochs)
    optim = dataclasses.replace(_optim(recipe), schedule=_with_warmup(_optim(recipe).schedule, schedule))
    slot = {"feature_aug": mix} if isinstance(mix, FeatureAug) else {"mix": mix}
    recipe = replace_stage(recipe, 0, optim=optim, **slot)
    length = fine_tune or max(1, round(recipe.epochs / 20))
    last = dataclasses.replace(
        recipe.stages[0],
        epochs=length,
        mix=None,
        feature_aug=None,
        start_from=None,
        reset=(),
        optim=dataclasses.replace(
            optim, lr=optim.lr / 100, schedule=_steps(length, (0.4, 0.8), variant, warmup_epochs=0)
        ),
    )
    return dataclasses.replace(recipe, stages=(*recipe.stages, last))


def _only_stage(recipe: Recipe) -> Stage:
    if len(recipe.stages) != 1:
        raise ValueError(f"expected a recipe with one stage to divide, got {len(recipe.stages)} stages")
    return recipe.stages[0]


def deferred(recipe: Recipe, epoch: int, **changes: Any) -> Recipe:
    """The recipe's stage divided in two, with one optimiser; the second has the changes.

    Args:
        recipe: With one stage.
        epoch: As for :func:`drw`.
        changes: Fields of the second stage.

    Raises:
        ValueError: As :func:`drw`.
    """
    stage = _only_stage(recipe)
    if not 0 < epoch < LENGTH:
        raise ValueError(f"epoch must be from 1 to {LENGTH - 1}, got {epoch}")
    if stage.steps is not None or stage.epochs < 2:
        raise ValueError("a stage that is divided needs at least two epochs and no length in steps")
    length = min(max(1, round(stage.epochs * epoch / LENGTH)), stage.epochs - 1)
    first = dataclasses.replace(stage, epochs=length)
    rest = dataclasses.replace(stage, epochs=stage.epochs - length, start_from=None, reset=(), optim=None, **changes)
    return dataclasses.replace(recipe, stages=(first, rest))


def _classifier(recipe: Recipe, variant: Variant, sampler: Sampler | None, epochs: int, **changes: Any) -> Recipe:
    """The recipe with a stage for the classifier behind it; ``epochs`` of it after 90 on full-size images."""
    official, small = variant == "official", recipe.data.image_size <= SMALL_IMAGE
    length = max(1, round(recipe.epochs * (30 / 200 if small else epochs / 90)))
    schedule = (
        _steps(length, (1 / 3, 2 / 3), variant, warmup_epochs=round(length / 6), warmup="third")
        if small
        else Cosine(shift=int(official))
    )
    if sampler is None:
        sampler = Power(q=0.0, within="cycle" if official and not small else "auto")
    pattern, optim = recipe.stages[-1], _optim(recipe)
    if official and not small:
        optim = dataclasses.replace(optim, nesterov=False)
    stage = dataclasses.replace(
        pattern,
        epochs=length,
        steps=None,
        streams=_with_sampler(pattern, sampler, generate=None),
        mix=None,
        feature_aug=None,
        objective=_with_loss(pattern, CrossEntropy(), "mean"),
        frozen_bn="train" if official else "eval",
        start_from=None,
        optim=dataclasses.replace(optim, weight_decay=5e-4, schedule=schedule),
        **{"reset": (), **changes},
    )
    label = "own" if recipe.variant == "own" or (small and not official) else variant
    return dataclasses.replace(recipe, variant=label, stages=(*recipe.stages, stage))


def _optim(recipe: Recipe) -> Optim:
    """The optimiser of the last stage, which an earlier one may have begun."""
    return next(stage.optim for stage in reversed(recipe.stages) if stage.optim is not None)


def _steps(length: int, shares: tuple[float, float], variant: Variant, **warmup: Any) -> MultiStep:
    """Rate divided by 10 after two shares of a stage; the official code does so one epoch earlier."""
    early = int(variant == "official")
    milestones = tuple(max(1, round(length * share)) - early for share in shares)
    return MultiStep(milestones=milestones, gamma=0.1, **warmup)


def _with_loss(stage: Stage, loss: Loss, reduction: Reduction) -> tuple[Objective, ...]:
    first, *rest = stage.objective
    if not isinstance(first, Classification):
        raise ValueError(f"the objective {first.name!r} has no loss to replace")
    return (dataclasses.replace(first, loss=loss, reduction=reduction), *rest)


def _with_sampler(stage: Stage, sampler: Sampler, **changes: Any) -> dict[str, Stream]:
    name = next(iter(stage.streams))
    return {**stage.streams, name: dataclasses.replace(stage.streams[name], sampler=sampler, **changes)}


def _with_warmup(schedule: Schedule, pattern: Schedule) -> Schedule:
    """The schedule with the warm-up of another one of its kind."""
    if isinstance(schedule, MultiStep) and isinstance(pattern, MultiStep):
        return dataclasses.replace(schedule, warmup_epochs=pattern.warmup_epochs)
    if isinstance(schedule, Cosine) and isinstance(pattern, Cosine):
        return dataclasses.replace(schedule, warmup_epochs=pattern.warmup_epochs, warmup_counts=pattern.warmup_counts)
    return schedule
