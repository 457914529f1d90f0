"""Tables 3 and 4 of chu2020feature: ImageNet-LT, Places-LT, iNaturalist 2017 and 2018."""

from __future__ import annotations

import dataclasses

from tailwise.core.registry import register
from tailwise.engine.recipe import Recipe
from tailwise.losses.class_balanced import ClassBalanced
from tailwise.recipes.base import RecipeFunction
from tailwise.recipes.baselines import ce
from tailwise.recipes.feature_space import feature_space_augmentation, feature_space_augmentation_focal
from tailwise.recipes.feature_space_augmentation.cifar import with_loss
from tailwise.recipes.feature_space_augmentation.settings import PAPER, imagenet_lt, inaturalist, places_lt
from tailwise.report.paper import Column, Measure, Numbers, Row, Table

CITED = "Cited from the paper on OLTR, whose groups are at least 100, 21 to 99, and at most 20 images."
#: Effective number of cui2019class on iNaturalist.
BETA = 0.999


def with_backbone(name: str, function: RecipeFunction) -> RecipeFunction:
    """The recipe with another network."""

    def changed(base: Recipe) -> Recipe:
        return function(dataclasses.replace(base, backbone=dataclasses.replace(base.backbone, name=name)))

    return changed


@register("feature-space-augmentation-table3", kind="tables", paper=PAPER)
def table3() -> Table:
    """ImageNet-LT and Places-LT by shot group."""
    groups: tuple[tuple[Measure, str], ...] = (
        ("many", "> 100"),
        ("medium", "≤ 100 & > 20"),
        ("few", "< 20"),
        ("all", "overall"),
    )
    columns = tuple(
        Column(f"{key}-{measure}", f"{title}, {label}", base, measure)
        for key, title, base in (("imagenet-lt", "ImageNet-LT", imagenet_lt), ("places-lt", "Places-LT", places_lt))
        for measure, label in groups
    )
    cited: dict[str, tuple[str, Numbers]] = {
        "plain": ("Plain Model", (40.9, 10.7, 0.4, 20.9, 45.9, 22.4, 0.36, 27.2)),
        "lifted": ("Lifted Loss", (35.8, 30.4, 17.9, 30.8, 41.1, 35.4, 24.0, 35.2)),
        "focal": ("FL", (36.4, 29.9, 16.0, 30.5, 41.1, 34.8, 22.4, 34.6)),
        "range": ("Range Loss", (35.8, 30.3, 17.6, 30.7, 41.1, 35.4, 23.2, 35.1)),
        "fslwf": ("FSLwF", (40.9, 22.1, 15.0, 28.4, 43.9, 29.9, 29.5, 34.9)),
        "oltr": ("OLTR", (43.2, 35.1, 18.5, 35.6, 44.7, 37.0, 25.3, 35.9)),
    }
    rows = [Row(name, label, None, numbers, note=CITED) for name, (label, numbers) in cited.items()]
    ours = (47.3, 31.6, 14.7, 35.2, 42.8, 37.5, 22.7, 36.4)
    focal = (47.0, 31.3, 16.8, 35.3, 42.2, 36.4, 24.0, 36.0)
    rows.append(Row("ours", "Ours", feature_space_augmentation, ours))
    rows.append(Row("ours-focal", "Ours+FL", feature_space_augmentation_focal, focal))
    return Table(
        PAPER,
        "feature-space-augmentation/table3",
        3,
        "Top-1 classification accuracy on ImageNet-LT and Places-LT",
        columns,
        tuple(rows),
        metric="top1_accuracy",
        note=(
            "Classes with exactly 20 images belong to no group. No schedule is printed, nor h_r and the length of "
            "Phase II, which here are 0.9 and 200 steps on augmented images. Places-LT has 62,500 training images, not "
            "the 184.5K that are printed. The cited plain model of ImageNet-LT is weaker than an ordinary training, so "
            "compare with a baseline of your own."
        ),
    )


@register("feature-space-augmentation-table4", kind="tables", paper=PAPER)
def table4() -> Table:
    """Both versions of iNaturalist with ResNet-50, -101 and -152."""
    baseline = {"resnet50": (60.50, 62.27), "resnet101": (61.81, 65.19), "resnet152": (65.12, 66.17)}
    balanced = {"resnet50": (58.08, 61.12), "resnet101": (60.94, 63.88), "resnet152": (64.75, 66.97)}
    ours = {"resnet50": (61.96, 65.91), "resnet101": (64.16, 68.39), "resnet152": (66.58, 69.08)}
    weighted = with_loss(ClassBalanced(beta=BETA), "weighted_mean")
    rows: list[Row] = []
    for name, numbers in baseline.items():
        rows.append(Row(f"baseline-{name}", f"Baseline, {_title(name)}", with_backbone(name, ce), numbers))
    for name, numbers in balanced.items():
        cited = name != "resnet152"
        note = "Cited from cui2019class: class-balanced focal loss." if cited else "Beta is not printed; 0.999 here."
        function = None if cited else with_backbone(name, weighted)
        rows.append(Row(f"cb-{name}", f"CB, {_title(name)}", function, numbers, note=note))
    for name, numbers in ours.items():
        function = with_backbone(name, feature_space_augmentation)
        rows.append(Row(f"ours-{name}", f"Ours, {_title(name)}", function, numbers))
    return Table(
        PAPER,
        "feature-space-augmentation/table4",
        4,
        "Top-1 classification accuracy on iNaturalist",
        (
            Column("inaturalist2017", "iNaturalist 2017", inaturalist),
            Column("inaturalist2018", "iNaturalist 2018", inaturalist),
        ),
        tuple(rows),
        metric="top1_accuracy",
        note="Phase II has 200 steps on augmented images; h_r is not printed and 0.9 here.",
    )


def _title(name: str) -> str:
    return f"ResNet-{name.removeprefix('resnet')}"
