"""What the tables of zhang2021bag share: their columns, and how a line becomes a row."""

from __future__ import annotations

from tailwise.engine.recipe import Recipe
from tailwise.recipes.base import RecipeFunction
from tailwise.recipes.baselines import ce
from tailwise.recipes.settings import cifar_lt, imagenet_lt, inaturalist2018, stepped_early
from tailwise.report.paper import Column, Numbers, Row, Table

#: The key of the paper in the bibliography.
PAPER = "zhang2021bag"


def cifar_columns() -> tuple[Column, ...]:
    """CIFAR-10-LT with imbalance factor 100 and 50, CIFAR-100-LT with 100 and 50."""
    return (
        Column("cifar10-lt-100", "CIFAR-10-LT, 100", lambda variant: cifar_lt("cifar10", 100.0)),
        Column("cifar10-lt-50", "CIFAR-10-LT, 50", lambda variant: cifar_lt("cifar10", 50.0)),
        Column("cifar100-lt-100", "CIFAR-100-LT, 100", lambda variant: cifar_lt("cifar100", 100.0)),
        Column("cifar100-lt-50", "CIFAR-100-LT, 50", lambda variant: cifar_lt("cifar100", 50.0)),
    )


def all_columns() -> tuple[Column, ...]:
    """Those of CIFAR-LT, then iNaturalist 2018 and ImageNet-LT, as Tables 2 and 11 have them."""
    return (
        *cifar_columns(),
        Column("inaturalist2018", "iNaturalist 2018", inaturalist2018),
        Column("imagenet-lt", "ImageNet-LT", imagenet_lt),
    )


def early(function: RecipeFunction) -> RecipeFunction:
    """The same recipe with the schedules of the authors' code."""

    def official(base: Recipe) -> Recipe:
        return stepped_early(function(base))

    return official


def both(name: str, label: str, function: RecipeFunction, expected: Numbers, *numbers: Numbers, note: str = "") -> Row:
    """A row whose code differs from the print in its schedules only; ``numbers`` are the repository's, newest first."""
    return Row(name, label, function, expected, early(function), *numbers, note=note)


def baseline(name: str = "baseline", label: str = "Baseline (Vanilla ResNet)") -> Row:
    """Cross-entropy on CIFAR-LT, the first row of most tables."""
    return both(
        name, label, ce, (30.18, 24.78, 61.73, 57.90), (28.05, 23.55, 62.27, 56.22), (30.12, 24.81, 61.76, 57.65)
    )


def table(number: int, title: str, *rows: Row, columns: tuple[Column, ...] | None = None, note: str = "") -> Table:
    """A table of the paper, on CIFAR-LT unless columns are given."""
    return Table(PAPER, f"bag-of-tricks/table{number}", number, title, columns or cifar_columns(), rows, note=note)
