"""Auxiliary tasks for any recipe: the classes under regular sampling, and quarter turns (zhang2019balance)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from tailwise.augment.rotation import Rotation
from tailwise.core.registry import register
from tailwise.engine.recipe import Recipe, Stage, Stream
from tailwise.engine.rescale import with_epochs
from tailwise.engine.schedule import Cosine
from tailwise.heads.multi import Multi
from tailwise.objectives.base import Objective
from tailwise.objectives.classification import Classification
from tailwise.objectives.pretext import Pretext
from tailwise.objectives.scaled import Scaled
from tailwise.recipes.base import replace_stream
from tailwise.samplers.base import Sampler
from tailwise.samplers.per_class import PerClass
from tailwise.samplers.power import Power

#: lambda_1 : lambda_2 : lambda_3 of main task, regular sampling and rotation.
Weights = tuple[float, float, float]
PAPER_WEIGHTS: Weights = (0.5, 1.0, 1.0)
#: Streams, heads and parts of the objective have these names.
AUXILIARY, ROTATION = "auxiliary", Rotation.stream


def with_auxiliary(
    recipe: Recipe,
    *,
    weights: Weights = (PAPER_WEIGHTS[0], PAPER_WEIGHTS[1], 0.0),
    sampler: Sampler | None = None,
    rotation: Rotation | None = None,
    hidden: int | None = None,
    stages: Sequence[int] | None = None,
) -> Recipe:
    r"""The recipe with auxiliary tasks that shape its features; its own task, the main one, keeps sampler and loss.

    The first auxiliary task is a classifier of its own on a second stream, as large as the first, under regular random
    sampling. The second tells the four quarter turns of all images of the step apart. Both are plain cross-entropies.
    The total is :math:`\lambda_1 l + \lambda_2 l_{RRS} + \lambda_3 l_{SS}` (Eq. 2), each part in the log. At test time
    only the main head is used.

    Args:
        recipe: Any recipe.
        weights: :math:`\lambda_1, \lambda_2, \lambda_3`. A task with weight 0 is left out; the paper has 0.5, 1 and 1.
            The weights of the recipe's own objectives are multiplied by the first.
        sampler: Of the auxiliary classifier's stream. None: instance-balanced, the whole set in random order.
        rotation: How the turned images go through the network.
        hidden: Width of a layer with a rectifier between pooling and all heads; see :class:`~tailwise.heads.Multi`.
        stages: Numbers of the stages that get the tasks. None: all that train the backbone. In the others nothing
            trains the auxiliary heads.

    Raises:
        ValueError: A weight is negative, that of the main task is 0, or both auxiliary ones are; there is no such
            stage, it does not train the backbone, has streams or views of these names, shows four turns, or mixes
            images that would be turned.
    """
    names = ("main", AUXILIARY, ROTATION)
    given = ", ".join(f"{name} {weight:g}" for name, weight in zip(names, weights, strict=True))
    if min(weights) < 0 or any(weight != weight or weight == float("inf") for weight in weights):
        raise ValueError(f"weights of tasks must be finite and at least 0, got {given}")
    if not any(weights):
        raise ValueError(f"one weight at least must be above 0, got {given}")
    if not weights[0]:
        raise ValueError(
            f"the weight of the main task must be above 0, because its head is the one that predicts, got {given}; to "
            "train under regular sampling alone, take the recipe ce"
        )
    if not any(weights[1:]):
        raise ValueError(f"one auxiliary task at least needs a weight above 0, got {given}; without, take the recipe")
    chosen = _chosen(recipe, stages)
    other = sampler or Power()
    changed = tuple(
        _with_tasks(stage, number, weights, other, rotation or Rotation()) if number in chosen else _without(stage)
        for number, stage in enumerate(recipe.stages)
    )
    head = Multi(main=recipe.head, auxiliary=weights[1] > 0, rotation=weights[2] > 0, hidden=hidden)
    if isinstance(recipe.head, Multi):
        head = dataclasses.replace(head, main=recipe.head.main, hidden=hidden or recipe.head.hidden)
    return dataclasses.replace(recipe, head=head, stages=changed)


@register("cbs-only", kind="recipes", paper="zhang2019balance")
def cbs_only(base: Recipe) -> Recipe:
    """Cross-entropy with some classes in every step and as many images of each, throughout the training."""
    return class_balanced(base)


@register("cbs-rrs", kind="recipes", paper="zhang2019balance")
def cbs_rrs(base: Recipe) -> Recipe:
    """Class-balanced main task with regular random sampling as auxiliary task, weights 0.5 and 1."""
    return with_auxiliary(class_balanced(base))


@register("cbs-rrs-ss", kind="recipes", paper="zhang2019balance")
def cbs_rrs_ss(base: Recipe) -> Recipe:
    """Class-balanced main task with regular sampling and rotation as auxiliary tasks, weights 0.5, 1 and 1."""
    return with_auxiliary(class_balanced(base), weights=PAPER_WEIGHTS)


@register("ft-rrs-cbs", kind="recipes", paper="zhang2019balance")
def ft_rrs_cbs(base: Recipe) -> Recipe:
    """Regular random sampling, then a new classifier and fine-tuning under class-balanced sampling (stage-wise)."""
    return fine_tuned(base)


def class_balanced(base: Recipe, images_per_class: int | None = None) -> Recipe:
    """The recipe with class-balanced sampling by the step in its first stage's first stream.

    Args:
        base: With one stage.
        images_per_class: :math:`Z`; the paper has 4. None: 4, or more where the batch would need more classes than
            there are.
    """
    first = next(iter(base.stages[0].streams))
    return replace_stream(base, 0, first, sampler=PerClass(images_per_class=images_per_class))


def fine_tuned(base: Recipe, images_per_class: int | None = None) -> Recipe:
    """The stage-wise comparison of Table 3: the features of the first stage are fine-tuned with a new classifier.

    The paper says that the second stage begins with the features of regular sampling, not how long it is nor its rate.
    Ours: a third of the epochs of the first, a tenth of its rate, cosine schedule without warm-up.

    Args:
        base: With one stage.
        images_per_class: As for :func:`class_balanced`.

    Raises:
        ValueError: The recipe has several stages.
    """
    if len(base.stages) != 1 or base.stages[0].optim is None:
        raise ValueError(f"expected a recipe with one stage, got {len(base.stages)} stages")
    (second,) = with_epochs(class_balanced(base, images_per_class), max(1, round(base.epochs / 3))).stages
    optim = dataclasses.replace(base.stages[0].optim, lr=base.stages[0].optim.lr / 10, schedule=Cosine())
    second = dataclasses.replace(second, optim=optim, reset=("head",), start_from=None)
    return dataclasses.replace(base, stages=(*base.stages, second))


def _chosen(recipe: Recipe, stages: Sequence[int] | None) -> set[int]:
    whole = [number for number, stage in enumerate(recipe.stages) if _trains_backbone(stage)]
    chosen = whole if stages is None else list(stages)
    for number in chosen:
        if not 0 <= number < len(recipe.stages):
            raise ValueError(f"there is no stage {number}; the recipe has {len(recipe.stages)}, counted from 0")
        if number not in whole:
            trains = recipe.stages[number].trainable
            raise ValueError(f"stage {number} trains {trains!r} only; auxiliary tasks shape the backbone")
    if not chosen:
        raise ValueError("no stage trains the backbone, which is what auxiliary tasks shape")
    return set(chosen)


def _trains_backbone(stage: Stage) -> bool:
    # A pattern such as (?!head\.scale) leaves out a part of the head only.
    return stage.trainable == "all" or stage.trainable.startswith(r"(?!head\.")


def _with_tasks(stage: Stage, number: int, weights: Weights, sampler: Sampler, rotation: Rotation) -> Stage:
    first = next(iter(stage.streams))
    taken = {*stage.streams, *(view.stream for view in stage.views)} & {AUXILIARY, ROTATION}
    if taken:
        raise ValueError(f"stage {number} has a stream named {sorted(taken)[0]!r} already")
    if weights[2] and (stage.mix is not None or stage.feature_aug is not None):
        mixing = stage.mix if stage.mix is not None else stage.feature_aug
        assert mixing is not None
        raise ValueError(
            f"stage {number} mixes its images or features ({mixing.name}), whose turned copies would be mixtures too; "
            "rotation is a task for plain images: give it weight 0, or take away the mixing"
        )
    streams, views, objective = (
        dict(stage.streams),
        stage.views,
        [_scaled(item, weights[0]) for item in stage.objective],
    )
    if weights[1]:
        streams[AUXILIARY] = Stream(sampler=sampler, batch=stage.streams[first].batch)
        objective.append(Classification(head=AUXILIARY, stream=AUXILIARY, weight=weights[1]))
    if weights[2]:
        views = (*views, rotation)
        objective.append(Pretext(head=ROTATION, stream=ROTATION, weight=weights[2]))
    return dataclasses.replace(
        stage, streams=streams, views=views, objective=tuple(objective), trainable=_renamed(stage.trainable)
    )


def _without(stage: Stage) -> Stage:
    """A stage without the tasks, which must not touch their heads."""
    if stage.trainable == "all":
        return dataclasses.replace(stage, trainable=r"(?!head\.extra\.)")
    if stage.trainable == "head":
        return dataclasses.replace(stage, trainable=r"head\.(?!extra\.)")
    return dataclasses.replace(stage, trainable=_renamed(stage.trainable))


def _renamed(pattern: str) -> str:
    """A pattern over the parameters of the main head, which is one level deeper now."""
    return pattern if r"head\.main" in pattern else pattern.replace(r"head\.", r"head\.main\.")


def _scaled(objective: Objective, factor: float) -> Objective:
    if isinstance(objective, Classification):
        return dataclasses.replace(objective, weight=objective.weight * factor)
    return Scaled(objective=objective, factor=factor)
