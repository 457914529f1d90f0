"""Figures 3, 4, 5 and 7 of cui2022reslt as tables; what a figure draws has no printed number."""

from __future__ import annotations

import dataclasses
from typing import Any

from tailwise.core.registry import register
from tailwise.engine.recipe import Recipe
from tailwise.objectives.classification import Classification
from tailwise.recipes.base import RecipeFunction, replace_stage
from tailwise.recipes.reslt.common import UNSEEN, ce_row, cifar_column, row, table
from tailwise.recipes.reslt.method import PAPER, branches, settled
from tailwise.recipes.reslt.settings import imagenet_lt
from tailwise.report.paper import Column, Row, Table, Variant

#: The variants of Fig. 2. (a) to (c) train other classes in a branch, (d) predicts with the main branch, (e) shares.
ABLATIONS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("a", "(a) all, medium and tail classes, summed", {"assignment": "main_and_disjoint"}),
    ("b", "(b) head, medium and tail classes, summed", {"assignment": "disjoint"}),
    ("c", "(c) all classes in every branch, summed", {"assignment": "everything"}),
    ("d", "(d) no additive shortcut", {"head_fusion": "main"}),
    ("e", "(e) no specialised parameters", {"head_specialized": False}),
)
READING = (
    "The text says of (a) to (c) only that branches for head, medium, tail and all classes are combined without nested "
    "classes and that (a) is a weak version of ResLT; which figure has which is our reading."
)
#: From the fusion loss alone to the branch losses alone.
ALPHAS = (0.0, 0.5, 0.9, 0.96, 0.99, 0.995, 0.998, 1.0)


def two_columns() -> tuple[Column, ...]:
    """CIFAR-10-LT and CIFAR-100-LT with imbalance factor 50."""
    return cifar_column("cifar10", 50), cifar_column("cifar100", 50)


@register("reslt-figure3", kind="tables", paper=PAPER)
def figure3() -> Table:
    """ResLT and the variants (a) to (e) of Fig. 2."""
    rows = [
        row(name, label, (None, None), note=f"{UNSEEN} {READING}" if name in "abc" else UNSEEN, **changes)
        for name, label, changes in ABLATIONS
    ]
    return table(3, "Variants of Fig. 2", two_columns(), row("reslt", "ResLT", (83.46, 49.98)), *rows, figure=True)


def wider(width: float, variant: Variant, *, branched: bool = True) -> RecipeFunction:
    """Residual branches, or cross-entropy, on a network with more channels."""

    def changed(base: Recipe) -> Recipe:
        recipe = settled(base, variant)
        recipe = branches(recipe, variant) if branched else recipe
        return dataclasses.replace(recipe, backbone=dataclasses.replace(base.backbone, width=width))

    return changed


@register("reslt-figure4", kind="tables", paper=PAPER)
def figure4() -> Table:
    """ResNet-32 with one, two and three times the channels; the backbones of ImageNet-LT are those of Table 6."""
    rows: list[Row] = []
    for width in (1, 2, 3):
        plain, run = wider(width, "paper", branched=False), wider(width, "official", branched=False)
        rows.append(Row(f"ce-{width}x", f"CE, {width}x", plain, (None, None), run, note="Not in the figure; ours."))
        numbers = (83.46, 49.98) if width == 1 else (None, None)
        paper, official = wider(width, "paper"), wider(width, "official")
        rows.append(Row(f"reslt-{width}x", f"ResLT, {width}x", paper, numbers, official, note=UNSEEN))
    return table(4, "Size of the network", two_columns(), *rows, figure=True)


@register("reslt-figure5", kind="tables", paper=PAPER)
def figure5() -> Table:
    """The trade-off alpha between branch losses and fusion loss."""
    imagenet = Column(
        "imagenet-lt-resnet10", "ImageNet-LT, ResNet-10", lambda variant: imagenet_lt("resnet10", variant)
    )
    rows = [
        row(f"alpha{alpha:g}", f"α = {alpha:g}", (None, None, None), note=f"{UNSEEN} The values are ours.", alpha=alpha)
        for alpha in ALPHAS
    ]
    return table(5, "Choice of α", (*two_columns(), imagenet), *rows, figure=True)


def plain_loss(branch: str, variant: Variant) -> RecipeFunction:
    """Cross-entropy of the summed branches and nothing else: the parameters of ResLT without its loss."""

    def changed(base: Recipe) -> Recipe:
        recipe = branches(settled(base, variant), variant, head_branch=branch)
        return replace_stage(recipe, 0, objective=(Classification(),))

    return changed


@register("reslt-figure7", kind="tables", paper=PAPER)
def figure7() -> Table:
    """Whether the extra convolutions alone explain the gain: cross-entropy with them."""
    note = (
        f"{UNSEEN} The imbalance factor is not said; 50 here, as in the other ablations. What the groups see is ours."
    )

    def plain(name: str, label: str, branch: str) -> Row:
        return Row(name, label, plain_loss(branch, "paper"), (None, None), plain_loss(branch, "official"), note=note)

    return table(
        7,
        "One grouped or three separate convolutions",
        two_columns(),
        ce_row("ce", "CE", (78.50, None)),
        plain("grouped", "1 grouped convolution", "grouped_conv"),
        plain("separate", "3 separate convolutions", "separate_conv"),
        row("reslt", "ResLT", (83.46, 49.98)),
        figure=True,
    )
