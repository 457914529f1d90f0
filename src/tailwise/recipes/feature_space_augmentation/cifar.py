"""Tables 1 and 2 of chu2020feature: CIFAR-10-LT and CIFAR-100-LT with ResNet-18 and ResNet-34."""

from __future__ import annotations

from tailwise.core.registry import register
from tailwise.engine.recipe import Recipe
from tailwise.losses.base import Loss
from tailwise.losses.class_balanced import ClassBalanced
from tailwise.losses.focal import Focal
from tailwise.objectives.classification import Classification
from tailwise.recipes.base import RecipeFunction, replace_stage
from tailwise.recipes.baselines import ce
from tailwise.recipes.feature_space import feature_space_augmentation
from tailwise.recipes.feature_space_augmentation.settings import PAPER, CifarName, cifar_columns
from tailwise.report.paper import Numbers, Row, Table

OPEN = (
    "The paper leaves open: the stem of the networks, batch, momentum and weight decay of Phase I, the thresholds tau, "
    "whether a tail class or a tail image is drawn, whether Phase II sees augmented images; see the recipe. "
    "Its numbers come from one run each, and it does not say which epoch they are of."
)
CB = "Class-balanced weights on cross-entropy, divided by the batch's weights; the paper does not say which loss."


def with_loss(loss: Loss, reduction: str = "mean") -> RecipeFunction:
    """Phase I alone with another loss."""
    weighted = reduction == "weighted_mean"

    def function(base: Recipe) -> Recipe:
        objective = Classification(loss=loss, reduction="weighted_mean" if weighted else "mean")
        return replace_stage(base, 0, objective=(objective,))

    return function


def _table(number: int, name: CifarName, title: str, numbers: dict[str, Numbers]) -> Table:
    rows = [Row("baseline", "Baseline", ce, numbers["baseline"])]
    for beta in ("0.9", "0.999", "0.9999"):
        loss = with_loss(ClassBalanced(beta=float(beta)), "weighted_mean")
        rows.append(Row(f"cb-{beta}", f"CB β = {beta}", loss, numbers[f"cb-{beta}"], note=CB))
    for gamma in ("0.5", "1.0", "2.0"):
        loss = with_loss(Focal(gamma=float(gamma)))
        rows.append(Row(f"focal-{gamma}", f"FL γ = {gamma}", loss, numbers[f"focal-{gamma}"]))
    rows.append(Row("sla", "SLA", None, numbers["sla"], note="Cited from the paper on SLA."))
    rows.append(Row("ours", "Ours", feature_space_augmentation, numbers["ours"]))
    return Table(
        PAPER,
        f"feature-space-augmentation/table{number}",
        number,
        title,
        cifar_columns(name),
        tuple(rows),
        metric="top1_accuracy",
        note=OPEN,
    )


@register("feature-space-augmentation-table1", kind="tables", paper=PAPER)
def table1() -> Table:
    """CIFAR-10-LT with five imbalance factors."""
    return _table(
        1,
        "cifar10",
        "Classification accuracy on long-tailed CIFAR-10",
        {
            "baseline": (90.73, 87.24, 82.32, 75.16, 70.22, 91.03, 87.32, 82.74, 78.58, 71.42),
            "cb-0.9": (90.79, 86.61, 81.90, 75.16, 69.16, 91.03, 87.18, 82.48, 75.99, 70.00),
            "cb-0.999": (90.54, 86.83, 81.81, 76.40, 69.83, 90.74, 87.24, 81.66, 74.85, 70.08),
            "cb-0.9999": (89.61, 86.05, 80.40, 75.04, 69.21, 90.69, 86.90, 81.06, 75.74, 68.79),
            "focal-0.5": (90.66, 86.61, 81.55, 74.99, 69.06, 90.76, 87.18, 81.91, 76.50, 69.87),
            "focal-1.0": (90.59, 86.83, 81.79, 74.07, 68.23, 90.70, 87.24, 81.34, 76.44, 70.02),
            "focal-2.0": (90.50, 86.05, 81.25, 75.13, 68.27, 90.08, 86.90, 82.44, 75.58, 69.87),
            "sla": (None, None, None, None, None, 89.58, None, None, 80.24, None),
            "ours": (91.75, 88.54, 84.51, 80.57, 77.06, 91.20, 89.26, 84.49, 82.06, 75.52),
        },
    )


@register("feature-space-augmentation-table2", kind="tables", paper=PAPER)
def table2() -> Table:
    """CIFAR-100-LT with five imbalance factors."""
    return _table(
        2,
        "cifar100",
        "Classification accuracy on long-tailed CIFAR-100",
        {
            "baseline": (62.59, 57.09, 48.55, 43.65, 38.87, 63.87, 57.55, 48.07, 43.55, 37.50),
            "cb-0.9": (63.10, 57.02, 48.15, 43.51, 38.58, 64.14, 58.03, 48.44, 42.94, 38.84),
            "cb-0.999": (61.76, 55.30, 44.28, 32.19, 26.61, 63.05, 54.13, 40.89, 32.65, 26.20),
            "cb-0.9999": (60.71, 53.93, 42.02, 31.32, 25.91, 62.28, 53.64, 40.03, 29.82, 26.63),
            "focal-0.5": (62.64, 57.02, 47.90, 42.82, 38.73, 64.36, 58.45, 48.31, 42.72, 36.18),
            "focal-1.0": (62.85, 57.22, 47.76, 42.81, 40.47, 64.83, 58.78, 48.24, 42.64, 37.29),
            "focal-2.0": (63.37, 57.15, 47.00, 42.18, 40.31, 64.48, 58.55, 47.47, 43.33, 38.11),
            "sla": (None, None, None, None, None, 59.89, None, None, 45.53, None),
            "ours": (65.08, 58.69, 51.90, 46.57, 42.84, 65.29, 59.75, 52.17, 48.51, 41.46),
        },
    )
