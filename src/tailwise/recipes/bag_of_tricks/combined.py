"""Tables 9 to 11 of zhang2021bag: tricks of several families together."""

from __future__ import annotations

import dataclasses

from tailwise.augment.manifold_mixup import ManifoldMixup
from tailwise.augment.mixup import Mixup
from tailwise.core.registry import register
from tailwise.engine.recipe import Recipe
from tailwise.losses.cost_sensitive import CostSensitive
from tailwise.objectives.classification import Classification
from tailwise.recipes import cam
from tailwise.recipes.bag_of_tricks.bag import bag_of_tricks_200, bag_of_tricks_official, mixup_and_cam
from tailwise.recipes.bag_of_tricks.common import PAPER, all_columns, baseline, table
from tailwise.recipes.bag_of_tricks.one_stage import LENGTH
from tailwise.recipes.bag_of_tricks.two_stage import CAM, cam_balance_row, cs_ce_row
from tailwise.recipes.base import replace_stage
from tailwise.report.paper import Row, Table


def cs_ce_and_cam(base: Recipe) -> Recipe:
    """Re-weighting and CAM-based balance-sampling, both in the second stage."""
    return _weighted(cam.cam_balance_sampling(base))


def cs_ce_and_cam_official(base: Recipe) -> Recipe:
    """The same as the authors' code runs."""
    return _weighted(cam.cam_balance_sampling_official(base))


def manifold_and_cam(base: Recipe) -> Recipe:
    """Manifold mixup with CAM-based balance-sampling, in the epochs of the base settings."""
    return mixup_and_cam(base, ManifoldMixup(), epochs=base.epochs)


def manifold_and_cam_official(base: Recipe) -> Recipe:
    """The same as the authors' code runs, in twice the epochs."""
    return mixup_and_cam(base, ManifoldMixup(), "official")


def input_and_cam(base: Recipe) -> Recipe:
    """Input mixup with CAM-based balance-sampling, in the epochs of the base settings."""
    return mixup_and_cam(base, Mixup(), epochs=base.epochs)


def input_and_cam_official(base: Recipe) -> Recipe:
    """The same as the authors' code runs, in twice the epochs."""
    return mixup_and_cam(base, Mixup(), "official")


@register("bag-of-tricks-table9", kind="tables", paper=PAPER)
def table9() -> Table:
    """Re-weighting and re-sampling in the second stage, alone and together."""
    return table(
        9,
        "DRW and DRS",
        baseline("ce", "CE"),
        cs_ce_row(),
        cam_balance_row(),
        Row(
            "cs-ce-cam-balance",
            "CS CE + CAM-BS",
            cs_ce_and_cam,
            (24.82, 18.96, 58.36, 54.09),
            cs_ce_and_cam_official,
            note=CAM,
        ),
    )


@register("bag-of-tricks-table10", kind="tables", paper=PAPER)
def table10() -> Table:
    """Mixup together with CAM-based balance-sampling."""
    return table(
        10,
        "Mixup with DRS by CAM-based balance-sampling",
        Row(
            "manifold-mixup",
            "Manifold mixup",
            manifold_and_cam,
            (22.65, 19.17, 57.20, 56.94),
            manifold_and_cam_official,
            note=LENGTH,
        ),
        Row(
            "input-mixup",
            "Input mixup",
            input_and_cam,
            (21.88, 17.94, 53.94, 50.04),
            input_and_cam_official,
            None,
            (21.33, 16.78, 54.09, 49.73),
            note=LENGTH,
        ),
        note="56.94 for manifold mixup on CIFAR-100-LT, 50 is worse than the 56.44 of Table 5 without re-sampling.",
    )


@register("bag-of-tricks-table11", kind="tables", paper=PAPER)
def table11() -> Table:
    """The bag of tricks, one trick after the other."""
    base = baseline()
    first = dataclasses.replace(
        base,
        expected=(*base.expected, 39.89, 65.99),
        repository=(28.05, 23.55, 62.27, 56.22, 40.55, 63.74),
        repository_old=None,
    )
    note = f"{LENGTH} The code for iNaturalist 2018 was never published; its settings are those for ImageNet-LT."
    return table(
        11,
        "Bag of tricks",
        first,
        Row(
            "mixup-cam-balance",
            "+ IM & DRS with CAM-BS",
            input_and_cam,
            (21.88, 17.94, 53.94, 50.04, 29.72, 58.13),
            input_and_cam_official,
            None,
            (21.33, 16.78, 54.09, 49.73, None, None),
            note=note,
        ),
        Row(
            "fine-tuned",
            "+ ft. after mixup training",
            bag_of_tricks_200,
            (19.97, 16.41, 52.17, 48.31, 29.13, 56.87),
            bag_of_tricks_official,
            None,
            (20.24, 16.44, 52.17, 47.98, None, 56.71),
            note=note,
        ),
        columns=all_columns(),
    )


def _weighted(recipe: Recipe) -> Recipe:
    return replace_stage(recipe, 1, objective=(Classification(loss=CostSensitive(), reduction="weighted_mean"),))
