"""What the tables of zhang2019balance share: columns, and the rows that stand in several of them."""

from __future__ import annotations

from collections.abc import Callable

from tailwise.engine.recipe import Recipe
from tailwise.recipes.auxiliary import Weights, class_balanced, fine_tuned, with_auxiliary
from tailwise.recipes.auxiliary_learning.settings import imagenet_lt, places_lt
from tailwise.recipes.base import replace_stream
from tailwise.recipes.baselines import ce
from tailwise.report.paper import Column, Measure, Numbers, Row, Table

#: The key of the paper in the bibliography.
PAPER = "zhang2019balance"
#: As the paper prints them: many, medium and low shot, overall.
MEASURES: tuple[tuple[Measure, str], ...] = (("many", "many"), ("medium", "medium"), ("few", "low"), ("all", "overall"))

NOTE = (
    "Epochs, batch and rates are open in the paper; see the settings. Groups are those of liu2019large: at least 100, "
    "21 to 99 and at most 20 training images."
)


def columns(*pairs: tuple[str, str, Callable[[], Recipe]]) -> tuple[Column, ...]:
    """Four columns, one for each measure, of every data set and backbone."""
    return tuple(
        Column(f"{key}-{measure}", f"{title}, {name}", _base(recipe), measure)
        for key, title, recipe in pairs
        for measure, name in MEASURES
    )


def table1_columns() -> tuple[Column, ...]:
    """ImageNet-LT with ResNet-10 from scratch, Places-LT with pretrained ResNet-152."""
    return columns(
        ("imagenet-lt-resnet10", "ImageNet-LT, ResNet-10", imagenet_lt),
        ("places-lt-resnet152", "Places-LT, ResNet-152", places_lt),
    )


def table2_columns() -> tuple[Column, ...]:
    """Both data sets with ResNet-50 from scratch."""
    return columns(
        ("imagenet-lt-resnet50", "ImageNet-LT, ResNet-50", lambda: imagenet_lt("resnet50")),
        ("places-lt-resnet50", "Places-LT, ResNet-50", lambda: places_lt("resnet50")),
    )


def ablation_columns() -> tuple[Column, ...]:
    """ImageNet-LT with ResNet-10 and Places-LT with ResNet-50, both from scratch: Tables 3 to 5."""
    return columns(
        ("imagenet-lt-resnet10", "ImageNet-LT, ResNet-10", imagenet_lt),
        ("places-lt-resnet50", "Places-LT, ResNet-50", lambda: places_lt("resnet50")),
    )


def table(number: int, title: str, columns_: tuple[Column, ...], *rows: Row, note: str = "") -> Table:
    """A table of the paper; its numbers are accuracies."""
    name = f"auxiliary-learning/table{number}"
    return Table(
        PAPER, name, number, title, columns_, rows, metric="top1_accuracy", note=" ".join((NOTE, note)).strip()
    )


def rrs_only(expected: Numbers, name: str = "rrs-only", label: str = "RRS-Only") -> Row:
    """Regular random sampling alone."""
    return Row(name, label, ce, expected)


def cbs_only(expected: Numbers, name: str = "cbs-only", label: str = "CBS-Only") -> Row:
    """Class-balanced sampling alone."""
    return Row(name, label, _cbs_only, expected)


def cbs_rrs(
    expected: Numbers, name: str = "cbs-rrs", label: str = "CBS+RRS", weights: Weights = (0.5, 1.0, 0.0), note: str = ""
) -> Row:
    """Both auxiliary tasks, or one of them, by the weights."""

    def recipe(base: Recipe) -> Recipe:
        return with_auxiliary(_cbs_only(base), weights=weights)

    return Row(name, label, recipe, expected, note=note)


def ft_rrs_cbs(expected: Numbers) -> Row:
    """Regular sampling, then class-balanced sampling."""

    def recipe(base: Recipe) -> Recipe:
        return fine_tuned(base)

    note = "Length and rate of the second stage are ours: a third of the epochs, a tenth of the rate."
    return Row("ft-rrs-cbs", "ftRRS+CBS", recipe, expected, note=note)


def rotation_augmentation(expected: Numbers) -> Row:
    """Every image in all four turns under its own label, instead of the rotation task."""

    def recipe(base: Recipe) -> Recipe:
        found = with_auxiliary(_cbs_only(base))
        for stream in found.stages[0].streams:
            found = replace_stream(found, 0, stream, four_turns=True)
        return found

    note = (
        "Printed is 'the four versions of rotated images'; here all four of every image of both samplers are shown "
        "in a step, twice as many images as with the rotation task, which the paper says to have the same inputs."
    )
    return Row("rotation-augmentation", "Rotation Augmentation", recipe, expected, note=note)


def _cbs_only(base: Recipe) -> Recipe:
    # Z is the paper's 4 on its data sets, and more on data with too few classes for that.
    return class_balanced(base)


def _base(recipe: Callable[[], Recipe]) -> Callable[[object], Recipe]:
    """The authors published no code, so every variant has the same settings."""
    return lambda variant: recipe()
