"""Tricks of one recipe that hurt each other, as far as the tables of zhang2021bag show it."""

from __future__ import annotations

from tailwise.augment.cam_transform import CamTransform
from tailwise.augment.manifold_mixup import ManifoldMixup
from tailwise.engine.recipe import Recipe, Stage
from tailwise.losses.base import Loss
from tailwise.losses.class_balanced import ClassBalanced
from tailwise.losses.cost_sensitive import CostSensitive
from tailwise.losses.cross_entropy import CrossEntropy
from tailwise.losses.ldam import LDAM
from tailwise.losses.reweighted import Reweighted
from tailwise.objectives.classification import Classification
from tailwise.samplers.base import Sampler
from tailwise.samplers.over import Over
from tailwise.samplers.power import Power
from tailwise.samplers.under import Under

#: Data sets with ten classes or fewer: on CIFAR-10-LT neither Table 3 (re-weighting) nor Table 4 (class-balanced
#: sampling) shows a harm at both imbalance factors.
FEW_CLASSES = ("cifar10", "digits", "synthetic")

ORDER = "(errors in % on CIFAR-10-LT 100 and 50, CIFAR-100-LT 100 and 50)"


def conflicts(recipe: Recipe) -> list[str]:
    """One sentence for every combination in the recipe that a table of the paper shows to hurt, with its numbers.

    Only what was measured there is told, all of it on CIFAR-LT with ResNet-32 and with one run a number. A network that
    does not start from scratch is not judged by tables of training from scratch.
    """
    found: list[str] = []
    scratch = not recipe.backbone.pretrained and recipe.backbone.weights is None and recipe.stages[0].start_from is None
    for number, stage in enumerate(recipe.stages):
        found += _re_balanced_twice(stage, number) + _manifold_with_cam(stage, number)
        if number == 0 and scratch:
            found += _re_weighted_from_scratch(recipe, stage) + _re_sampled_from_scratch(recipe, stage)
        if number and _manifold(recipe.stages[number - 1]):
            found += _fine_tuned_after_manifold(stage, number)
    return found


def _re_balanced_twice(stage: Stage, number: int) -> list[str]:
    weighted, sampler = _weighted(stage), _re_sampler(stage)
    if weighted is None or sampler is None:
        return []
    return [
        f"stage {number} re-weights ({weighted.name}) and re-samples ({_called(sampler)}): Table 9 has 24.82, 18.96, "
        f"58.36 and 54.09 for both together, 24.63, 18.60, 58.27 and 54.05 for re-sampling alone {ORDER}"
    ]


def _re_weighted_from_scratch(recipe: Recipe, stage: Stage) -> list[str]:
    loss = _weighted(stage)
    if recipe.data.name in FEW_CLASSES or _re_sampler(stage) is not None:
        return []
    if isinstance(loss, CostSensitive) and loss.gamma == 1:
        numbers = "70.92 and 63.78"
    elif isinstance(loss, ClassBalanced) and loss.beta > 0:
        numbers = "66.40 and 63.48"
    else:
        return []
    return [
        f"{loss.name} re-weights from the first epoch: with 100 classes Table 3 has {numbers}, against 61.73 and 57.90 "
        "for plain cross-entropy (errors in % on CIFAR-100-LT 100 and 50); drw-cs-ce re-weights late, 58.92 and 54.57 "
        "in Table 8"
    ]


def _re_sampled_from_scratch(recipe: Recipe, stage: Stage) -> list[str]:
    sampler = _re_sampler(stage)
    plain = stage.mix is None and stage.feature_aug is None and isinstance(_loss(stage), CrossEntropy)
    if sampler is None or not plain:
        return []
    if isinstance(sampler, Power) and sampler.q == 0 and recipe.data.name not in FEW_CLASSES:
        numbers, late, deferred = "30.44, 23.97, 67.34 and 61.48", "drs", "29.04, 21.34, 59.56 and 55.67"
    elif isinstance(sampler, Power) and sampler.q == 0.5:
        numbers, late, deferred = "31.36, 24.84, 64.47 and 59.82", "drs-square-root", "31.31, 22.21, 61.02 and 57.05"
    elif isinstance(sampler, Over):
        numbers, late, deferred = "33.24, 26.53, 67.00 and 61.11", "drs-over-sampling", "28.88, 21.52, 59.76 and 55.90"
    elif isinstance(sampler, Under):
        numbers, late, deferred = "34.14, 26.91, 67.23 and 60.98", "drs-under-sampling", "28.18, 21.33, 60.21 and 55.97"
    else:
        return []
    return [
        f"{_called(sampler)} re-samples from the first epoch: Table 4 has {numbers}, against 30.18, 24.78, 61.73 and "
        f"57.90 without {ORDER}; {late} re-samples late, {deferred} in Table 7"
    ]


def _fine_tuned_after_manifold(stage: Stage, number: int) -> list[str]:
    mixed = stage.mix is not None or stage.feature_aug is not None
    if mixed or stage.trainable != "all" or _re_sampler(stage) is not None or _weighted(stage) is not None:
        return []
    return [
        f"stage {number} fine-tunes after manifold mixup: Table 6 has 28.88, 22.59, 61.16 and 57.43 with it, 26.61, "
        f"21.50, 60.14 and 56.44 without {ORDER}; fine-tuning after input mixup helps there"
    ]


def _manifold_with_cam(stage: Stage, number: int) -> list[str]:
    generates = isinstance(next(iter(stage.streams.values())).generate, CamTransform)
    if not generates or not _manifold(stage):
        return []
    return [
        f"stage {number} has manifold mixup with CAM-based sampling: Table 10 has 22.65, 19.17, 57.20 and 56.94, "
        f"and 21.88, 17.94, 53.94 and 50.04 with input mixup {ORDER}"
    ]


def _manifold(stage: Stage) -> bool:
    return isinstance(stage.feature_aug, ManifoldMixup)


def _loss(stage: Stage) -> Loss | None:
    """The loss of a stage with one classification objective."""
    only = stage.objective[0] if len(stage.objective) == 1 else None
    return only.loss if isinstance(only, Classification) else None


def _weighted(stage: Stage) -> Loss | None:
    """The stage's loss, if it has class weights."""
    loss = _loss(stage)
    return loss if isinstance(loss, Reweighted) or (isinstance(loss, LDAM) and loss.beta > 0) else None


def _re_sampler(stage: Stage) -> Sampler | None:
    """The stage's sampler, if there is one stream and it does not follow the data's own frequencies."""
    if len(stage.streams) != 1:
        return None
    sampler = next(iter(stage.streams.values())).sampler
    return None if isinstance(sampler, Power) and sampler.q == 1 else sampler


def _called(sampler: Sampler) -> str:
    return f"{sampler.name}(q={sampler.q:g})" if isinstance(sampler, Power) else sampler.name
