"""What the tables of cui2022reslt share: their columns, and how a line becomes a row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

from tailwise.engine.recipe import Recipe
from tailwise.recipes.base import RecipeFunction
from tailwise.recipes.experts import ride_with
from tailwise.recipes.reslt.experts import branched_experts
from tailwise.recipes.reslt.method import PAPER, function, settled
from tailwise.recipes.reslt.settings import cifar_lt
from tailwise.recipes.strong import strong
from tailwise.report.paper import Column, Measure, Numbers, Row, Table, Variant

STRONG = (
    "§ is mixup and AutoAugment during the training; neither its order nor its strength is published, and the code has "
    "neither. Here AutoAugment follows crop and flip, mixup has alpha 1, and the length is that of the plain row."
)
EXPERTS = "Several experts on a shared trunk (wang2021ride), each with branches and a classifier of its own."
#: Of the comparator; the paper does not print how it was trained for longer than its own 100 epochs.
RIDE = "RIDE with the settings of its own code, without routing and without its rotations of CIFAR images."
CITED = "Of another method, cited or re-run by the authors under settings that they do not print."
BEST = "The code keeps the epoch that is best on the test images; expect 0.5 to 1.5 points less after the last one."
UNSEEN = "Drawn as a figure without numbers."


def cifar_column(name: str, imbalance_factor: int) -> Column:
    """Top-1 accuracy over all classes of CIFAR-10-LT or CIFAR-100-LT."""
    title = f"{'CIFAR-10-LT' if name == 'cifar10' else 'CIFAR-100-LT'}, {imbalance_factor}"
    factor = float(imbalance_factor)
    return Column(f"{name}-lt-{imbalance_factor}", title, lambda variant: cifar_lt(name, factor, variant))  # pyright: ignore[reportArgumentType]


def shot_columns(key: str, title: str, base: Callable[[Variant], Recipe]) -> tuple[Column, ...]:
    """Many, medium, few and all classes of one data set, in the order in which the paper prints them."""
    order: tuple[Measure, ...] = ("many", "medium", "few", "all")
    assert set(order) == set(get_args(Measure))
    return tuple(
        Column(key if measure == "all" else f"{key}-{measure}", f"{title}, {measure}", base, measure)
        for measure in order
    )


def row(name: str, label: str, expected: Numbers, *, note: str = BEST, code: bool = True, **changes: Any) -> Row:
    """Residual branches with some changes; ``code`` says whether the authors published any for the row."""
    official = function("official", **changes) if code else None
    return Row(name, label, function("paper", **changes), expected, official, note=note)


def strong_row(name: str, label: str, expected: Numbers) -> Row:
    """Residual branches with AutoAugment and mixup; the official variant has the code's branches, loss and groups."""

    def changed(variant: Variant) -> RecipeFunction:
        plain = function(variant)
        return lambda base: strong(plain(base))

    return Row(name, label, changed("paper"), expected, changed("official"), note=f"{STRONG} {BEST}")


def experts_row(name: str, label: str, expected: Numbers, experts: int, note: str = BEST) -> Row:
    """Residual branches for each of several experts."""

    def changed(variant: Variant) -> RecipeFunction:
        return lambda base: branched_experts(settled(base, variant), experts, variant)

    return Row(name, label, changed("paper"), expected, changed("official"), note=f"{EXPERTS} {note}")


def ride_row(name: str, label: str, expected: Numbers, experts: int, *, longer: bool = False) -> Row:
    """The comparator with several experts; ``longer``: 180 epochs, or 200 on iNaturalist 2018."""

    def paper(base: Recipe) -> Recipe:
        return ride_with(base, experts, epochs=base.epochs if longer else None)

    note = f"{RIDE} The milestones of the longer training are in proportion, which is ours." if longer else RIDE
    return Row(name, label, paper, expected, note=note)


def ce_row(name: str, label: str, expected: Numbers, note: str = "") -> Row:
    """Cross-entropy with the settings of the table."""

    def paper(base: Recipe) -> Recipe:
        return settled(base, "paper")

    def official(base: Recipe) -> Recipe:
        return settled(base, "official")

    return Row(name, label, paper, expected, official, note=note)


def cited(name: str, label: str, expected: Numbers, note: str = CITED) -> Row:
    """Numbers without anything to train."""
    return Row(name, label, None, expected, note=note)


def table(
    number: int, title: str, columns: tuple[Column, ...], *rows: Row, figure: bool = False, note: str = ""
) -> Table:
    """A table, or a figure of the paper as a table, of top-1 accuracies."""
    name = f"reslt/{'figure' if figure else 'table'}{number}"
    return Table(PAPER, name, number, title, columns, rows, metric="top1_accuracy", note=note)
