"""Lengths, rates and parts of the stages against what papers and codes say."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from tailwise.augment.base import FeatureAug, Mix
from tailwise.core.spec import frozen, to_plain
from tailwise.core.stats import ClassStats
from tailwise.engine.recipe import Optim, Recipe
from tailwise.engine.schedule import Cosine, MultiStep
from tailwise.engine.span import spans
from tailwise.heads.cosine import Cosine as CosineHead
from tailwise.heads.linear import Linear
from tailwise.heads.lws import LWS
from tailwise.losses.class_balanced import ClassBalanced
from tailwise.losses.cost_sensitive import CostSensitive
from tailwise.losses.cross_entropy import CrossEntropy
from tailwise.losses.ldam import LDAM
from tailwise.objectives.classification import Classification
from tailwise.recipes.base import base_recipe, make_recipe, replace_stage
from tailwise.recipes.stages import Reduction, after_mixup, crt, drs, drw, drw_drs, lws
from tailwise.samplers.power import Power

CIFAR, DIGITS = base_recipe("cifar10"), base_recipe("digits")
FULL = base_recipe("folder", Path("x"), 224)


@frozen
class Mixing(Mix):
    """Stands for any mix."""


@frozen
class Features(FeatureAug):
    """Stands for any feature augmentation."""


def loss_of(recipe: Recipe, number: int) -> Any:
    (objective,) = recipe.stages[number].objective
    assert isinstance(objective, Classification)
    return objective


def sampler_of(recipe: Recipe, number: int) -> Any:
    return recipe.stages[number].streams["main"].sampler


@pytest.mark.parametrize(
    ("base", "epoch", "lengths"),
    [
        (CIFAR, 160, [160, 40]),
        (CIFAR, 159, [159, 41]),
        (CIFAR, 100, [100, 100]),
        (DIGITS, 160, [48, 12]),
        (FULL, 160, [72, 18]),
        (replace_stage(CIFAR, 0, epochs=400), 160, [320, 80]),
        (replace_stage(CIFAR, 0, epochs=2), 160, [1, 1]),
    ],
)
def test_deferred_stages_divide_a_training_in_proportion(base: Recipe, epoch: int, lengths: list[int]) -> None:
    for recipe in (drw(base, CostSensitive(), epoch=epoch), drs(base, Power(q=0.0), epoch=epoch)):
        assert [stage.epochs for stage in recipe.stages] == lengths
        assert recipe.stages[1].optim is None
        assert recipe.stages[0] == dataclasses.replace(base.stages[0], epochs=lengths[0])


def test_the_learning_rate_goes_on_as_if_there_were_one_stage() -> None:
    recipe, whole = drw(CIFAR, CostSensitive()), CIFAR
    rates = [
        [
            span.learning_rate(item.stages, epoch, 0.0)
            for span in spans(item.stages, 1280)
            for epoch in range(span.epochs)
        ]
        for item in (recipe, whole)
    ]
    assert rates[0] == rates[1]
    # the first re-weighted epoch is the 161st, and the first with a hundredth of the rate
    assert rates[0][159:161] == [pytest.approx(0.1), pytest.approx(0.001)]


def test_deferred_stages_change_what_they_say_and_nothing_else() -> None:
    recipe = drw(CIFAR, CostSensitive(), "weighted_mean")
    assert loss_of(recipe, 0) == Classification()
    assert loss_of(recipe, 1) == Classification(loss=CostSensitive(), reduction="weighted_mean")
    assert sampler_of(recipe, 1) == Power()
    recipe = drs(CIFAR, Power(q=0.5))
    assert loss_of(recipe, 1) == Classification()
    assert (sampler_of(recipe, 0), sampler_of(recipe, 1)) == (Power(), Power(q=0.5))
    recipe = drw_drs(CIFAR, CostSensitive(), "weighted_mean", Power(q=0.0))
    assert loss_of(recipe, 1).loss == CostSensitive()
    assert sampler_of(recipe, 1) == Power(q=0.0)
    started = replace_stage(CIFAR, 0, start_from="weights", reset=("head",))
    assert (drs(started, Power()).stages[1].start_from, drs(started, Power()).stages[1].reset) == (None, ())


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: drw(drs(CIFAR, Power()), CostSensitive()), "expected a recipe with one stage to divide, got 2 stages"),
        (lambda: drs(CIFAR, Power(), epoch=200), "epoch must be from 1 to 199, got 200"),
        (
            lambda: drs(replace_stage(CIFAR, 0, steps=5), Power()),
            "a stage that is divided needs at least two epochs and no length in steps",
        ),
        (
            lambda: drs(replace_stage(CIFAR, 0, epochs=1), Power()),
            "a stage that is divided needs at least two epochs and no length in steps",
        ),
        (
            lambda: lws(dataclasses.replace(CIFAR, head=CosineHead())),
            "lws scales the classes of a linear head, and the recipe's is 'cosine'",
        ),
        (
            lambda: lws(replace_stage(CIFAR, 0, trainable="head")),
            "lws comes after stages that train everything, and one of the recipe's trains a part only",
        ),
    ],
)
def test_recipes_that_do_not_fit_are_refused(build: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        build()


def test_crt_trains_a_new_head_with_an_optimiser_of_its_own() -> None:
    recipe = crt(CIFAR)
    first, second = recipe.stages
    assert first == CIFAR.stages[0]
    assert (second.trainable, second.reset, second.frozen_bn) == ("head", ("head",), "eval")
    assert (second.epochs, sampler_of(recipe, 1)) == (30, Power(q=0.0))
    schedule = MultiStep(milestones=(10, 20), gamma=0.1, warmup_epochs=5, warmup="third")
    assert second.optim == Optim(lr=0.1, weight_decay=5e-4, schedule=schedule)
    assert recipe.variant == "own"


def test_crt_as_published_code_runs_moves_statistics_and_steps_an_epoch_earlier() -> None:
    small, full = crt(CIFAR, variant="official"), crt(FULL, variant="official")
    assert small.stages[1].frozen_bn == full.stages[1].frozen_bn == "train"
    assert small.stages[1].optim is not None
    assert small.stages[1].optim.schedule == MultiStep(milestones=(9, 19), gamma=0.1, warmup_epochs=5, warmup="third")
    assert full.stages[1].optim is not None
    assert full.stages[1].optim.schedule == Cosine(shift=1)
    assert not full.stages[1].optim.nesterov
    assert sampler_of(full, 1) == Power(q=0.0, within="cycle")
    assert (small.variant, full.variant) == ("official", "own")


@pytest.mark.parametrize(
    ("make", "base", "variant", "epochs"),
    [
        (crt, FULL, "paper", 10),
        (crt, FULL, "official", 10),
        (lws, FULL, "paper", 10),
        (lws, FULL, "official", 5),
        (lws, CIFAR, "paper", 30),
        (crt, DIGITS, "paper", 9),
    ],
)
def test_stages_of_the_classifier_have_the_lengths_of_paper_and_code(
    make: Any, base: Recipe, variant: str, epochs: int
) -> None:
    assert make(base, variant=variant).stages[1].epochs == epochs


def test_the_classifier_stage_leaves_out_mixing_and_the_loss_before_it() -> None:
    base = drw(replace_stage(CIFAR, 0, mix=Mixing(), feature_aug=Features()), CostSensitive(), "weighted_mean")
    recipe = crt(base, sampler=Power(q=0.5))
    stage = recipe.stages[2]
    assert (stage.mix, stage.feature_aug) == (None, None)
    assert loss_of(recipe, 2) == Classification(loss=CrossEntropy())
    assert sampler_of(recipe, 2) == Power(q=0.5)
    assert stage.epochs == 30
    assert stage.optim is not None
    assert stage.optim.momentum == 0.9


def test_lws_trains_the_factors_and_nothing_else() -> None:
    recipe = lws(dataclasses.replace(CIFAR, head=Linear(bias=False)))
    assert recipe.head == LWS(bias=False)
    patterns = [stage.trainable for stage in recipe.stages]
    names = ["backbone.conv1.weight", "head.fc.weight", "head.scale"]
    trained = [[bool(re.match(pattern, name)) for name in names] for pattern in patterns]
    assert trained == [[True, True, False], [False, False, True]]
    assert recipe.stages[1].reset == ()


def test_after_mixup_has_the_lengths_and_rates_of_the_code() -> None:
    recipe = after_mixup(CIFAR, Mixing())
    first, second = recipe.stages
    assert first.mix == Mixing()
    assert first.epochs == 400
    assert first.optim is not None
    assert first.optim.schedule == MultiStep(milestones=(320, 360), gamma=0.01, warmup_epochs=5)
    assert (second.mix, second.epochs) == (None, 20)
    assert second.optim is not None
    assert second.optim.lr == pytest.approx(1e-3)
    assert second.optim.schedule == MultiStep(milestones=(8, 16), gamma=0.1, warmup_epochs=0)
    assert sampler_of(recipe, 1) == Power()
    official = after_mixup(CIFAR, Mixing(), epochs=200, fine_tune=10, variant="official")
    assert [stage.epochs for stage in official.stages] == [200, 10]
    assert official.stages[1].optim is not None
    assert official.stages[1].optim.schedule == MultiStep(milestones=(3, 7), gamma=0.1, warmup_epochs=0)
    features = after_mixup(FULL, Features())
    assert [stage.feature_aug for stage in features.stages] == [Features(), None]
    assert features.stages[0].optim is not None
    assert features.stages[0].optim.schedule == Cosine(warmup_epochs=5, warmup_counts=4)


def test_after_mixup_of_a_short_training_still_has_an_end() -> None:
    recipe = after_mixup(replace_stage(CIFAR, 0, epochs=1), Mixing(), epochs=1)
    assert [stage.epochs for stage in recipe.stages] == [1, 1]


def test_ldam_with_the_scale_in_the_head_is_the_loss_of_the_code() -> None:
    recipe = make_recipe("ldam-drw", CIFAR)
    stats = ClassStats([50, 20, 10])
    target = torch.tensor([0, 1, 2, 2])
    cosines = torch.rand(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2 - 1
    assert isinstance(recipe.head, CosineHead)
    cases: list[tuple[int, float, Reduction]] = [(0, 0.0, "mean"), (1, 0.9999, "weighted_mean")]
    for number, beta, reduction in cases:
        objective = loss_of(recipe, number)
        assert objective.reduction == reduction
        code = LDAM(scale=30.0, max_margin=0.5, beta=beta).bind(stats, reduction).double()
        ours = objective.loss.bind(stats, reduction).double()
        torch.testing.assert_close(ours(recipe.head.scale * cosines, target), code(cosines, target))


def test_recipes_of_class_weights_take_beta_from_the_code() -> None:
    for name, beta in (("cifar10", 0.9999), ("cifar100", 0.9)):
        base = dataclasses.replace(CIFAR, data=dataclasses.replace(CIFAR.data, name=name))
        assert loss_of(make_recipe("cb-ce", base), 0).loss == ClassBalanced(beta=beta)
        assert loss_of(make_recipe("drw-cb-ce", base), 1).loss == ClassBalanced(beta=beta)


def test_progressive_sampling_that_is_deferred_starts_where_it_would_have_been() -> None:
    assert sampler_of(make_recipe("drs-progressive", CIFAR), 1).start == 161 / 200
    assert sampler_of(make_recipe("drs-progressive", DIGITS), 1).start == 49 / 60


def test_a_recipe_without_a_change_of_the_classifier_has_the_hash_from_before_there_were_any() -> None:
    assert "posthoc" not in to_plain(CIFAR, hashed_only=True)["evaluate"]
    assert to_plain(CIFAR)["evaluate"]["posthoc"] == []
    changed = make_recipe("tau-norm", CIFAR)
    assert to_plain(changed, hashed_only=True)["evaluate"]["posthoc"] == [
        {"_type": "tau_norm", "tau": 1.0, "bias": "drop"}
    ]
    assert changed.hash != CIFAR.hash
