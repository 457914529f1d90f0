"""Figures 8 and 9 of chu2020feature as tables, and sweeps of what the paper leaves open; none prints numbers."""

from __future__ import annotations

from tailwise.augment.feature_space import FeatureSpace
from tailwise.core.registry import register
from tailwise.engine.recipe import Recipe
from tailwise.recipes.base import RecipeFunction
from tailwise.recipes.baselines import ce
from tailwise.recipes.feature_space import at_depth, feature_space, feature_space_augmentation, feature_space_no_aug
from tailwise.recipes.feature_space_augmentation.settings import NETWORKS, PAPER, cifar_columns
from tailwise.report.paper import Row, Table

RATIOS = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98)
TAUS = ((0.8, 0.2), (0.6, 0.3), (0.5, 0.2), (0.5, 0.5), (0.3, 0.3))
#: N_a and N_f.
DRAWS = ((1, 1), (1, 3), (3, 1), (3, 3), (5, 3), (7, 7))
COLUMNS = (*cifar_columns("cifar10", NETWORKS[:1]), *cifar_columns("cifar100", NETWORKS[:1]))


@register("feature-space-augmentation-figure8", kind="tables", paper=PAPER)
def figure8() -> Table:
    """Accuracy against h_r, the share of images that head classes hold."""

    def at(ratio: float) -> RecipeFunction:
        return lambda base: feature_space(base, share=ratio)

    return _table("figure8", 8, "Accuracy against h_r", {f"h-{ratio:g}": at(ratio) for ratio in RATIOS})


@register("feature-space-augmentation-figure9", kind="tables", paper=PAPER)
def figure9() -> Table:
    """Accuracy against the block of ResNet-18 after which features are fused; layer4 is the last."""

    def after(layer: str, *trained: str) -> RecipeFunction:
        return lambda base: at_depth(feature_space(base), layer, trained)

    return _table(
        "figure9",
        9,
        "Accuracy against the depth of the augmentation",
        {
            "baseline": ce,
            "no-aug": feature_space_no_aug,
            "block2": after("layer2", "layer3", "layer4"),
            "block3": after("layer3", "layer4"),
            "block4": feature_space_augmentation,
        },
    )


@register("feature-space-augmentation-sweep-tau", kind="tables", paper=PAPER)
def sweep_tau() -> Table:
    """Accuracy against the thresholds, which are not printed; tau_s and tau_g in the names of the rows."""

    def at(specific: float, generic: float) -> RecipeFunction:
        augment = FeatureSpace(tau_specific=specific, tau_generic=generic)
        return lambda base: feature_space(base, augment=augment)

    functions = {f"tau-{specific:g}-{generic:g}": at(specific, generic) for specific, generic in TAUS}
    return _table("sweep-tau", 0, "Accuracy against the thresholds", functions)


@register("feature-space-augmentation-sweep-draws", kind="tables", paper=PAPER)
def sweep_draws() -> Table:
    """Accuracy against N_a and N_f, with N_t such that a step keeps 128 samples or nearly so."""

    def at(each: int, classes: int) -> RecipeFunction:
        def function(base: Recipe) -> Recipe:
            return feature_space(base, each=each, classes=classes, tail_images=round(64 / (1 + each)))

        return function

    functions = {f"draws-{each}-{classes}": at(each, classes) for each, classes in DRAWS}
    return _table("sweep-draws", 0, "Accuracy against N_a and N_f", functions)


def _table(name: str, number: int, title: str, functions: dict[str, RecipeFunction]) -> Table:
    nothing = (None,) * len(COLUMNS)
    rows = tuple(Row(row, row, function, nothing) for row, function in functions.items())
    note = "The figure prints no numbers." if number else "A sweep of ours; the paper has none."
    return Table(
        PAPER, f"feature-space-augmentation/{name}", number, title, COLUMNS, rows, metric="top1_accuracy", note=note
    )
