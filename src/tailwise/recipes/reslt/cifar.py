"""Tables 1, 5 and 9 of cui2022reslt: CIFAR-10-LT and CIFAR-100-LT."""

from __future__ import annotations

from typing import Any

from tailwise.core.registry import register
from tailwise.recipes.reslt.common import (
    BEST,
    ce_row,
    cifar_column,
    cited,
    experts_row,
    ride_row,
    row,
    shot_columns,
    strong_row,
    table,
)
from tailwise.recipes.reslt.method import PAPER
from tailwise.recipes.reslt.settings import cifar_lt
from tailwise.report.paper import Row, Table

NAIVE = (
    "Every branch learns its own group only, without the fusion loss. The code has no such row; its variant official "
    "has the branches, loss and groups of the code."
)
OWN = f"The authors published no code of it on CIFAR; the variant official has the code's branches. {BEST}"
FEWER = "Which classes the groups have when there are not three is not published; here equally many each by rank."


def naive(number: int, fusion: str, expected: tuple[float, ...]) -> Row:
    """A baseline of Algorithm 1: branches of disjoint groups, fused in some way that is not trained."""
    return row(
        f"baseline{number}",
        f"Baseline ({number})",
        expected,
        note=NAIVE,
        alpha=1.0,
        assignment="disjoint",
        head_fusion=fusion,
    )


@register("reslt-table1", kind="tables", paper=PAPER)
def table1() -> Table:
    """Ways to fuse three branches on CIFAR-10-LT with imbalance factor 50, by shot group."""
    return table(
        1,
        "Baselines on CIFAR-10-LT with imbalance factor 50",
        shot_columns("cifar10-lt-50", "CIFAR-10-LT, 50", lambda variant: cifar_lt("cifar10", 50.0, variant)),
        ce_row("ce", "Baseline (CE)", (93.60, 76.33, 68.55, 78.50)),
        naive(1, "max", (90.70, 54.73, 41.48, 60.22)),
        naive(2, "sum", (90.83, 55.63, 40.75, 60.24)),
        naive(3, "probabilities", (86.73, 45.50, 55.33, 61.80)),
        row("reslt", "ResLT (Ours)", (85.83, 81.47, 81.43, 83.46)),
    )


@register("reslt-table5", kind="tables", paper=PAPER)
def table5() -> Table:
    """CIFAR-10-LT and CIFAR-100-LT with imbalance factors 100, 50 and 10."""
    columns = tuple(cifar_column(name, factor) for name in ("cifar10", "cifar100") for factor in (100, 50, 10))
    few = "Copied by the paper from other papers, whose weight decay is 2e-4; `ce-reslt-settings` has ResLT's 5e-4."
    return table(
        5,
        "Long-tailed CIFAR-10 and CIFAR-100, ResNet-32",
        columns,
        cited("mixup", "Mixup", (73.06, 77.82, 87.10, 39.54, 44.99, 58.02), few),
        cited("focal", "Focal", (70.38, 76.72, 86.66, 38.41, 44.32, 55.78), few),
        cited("ldam", "LDAM", (73.35, None, 86.96, 39.60, None, 56.91), few),
        cited("bbn", "BBN", (79.82, 82.18, 88.32, 42.56, 47.02, 59.12), few),
        cited("cb-focal", "CB-Focal", (74.57, 79.27, 87.10, 39.60, 45.17, 57.99), few),
        cited("causal-norm", "Causal Norm", (80.60, 83.60, 88.50, 44.10, 50.30, 59.60), few),
        cited("ce-drw", "CE+DRW", (76.34, 79.97, 87.56, 41.51, 45.29, 58.12), few),
        cited("ce-drs", "CE+DRS", (75.61, 79.81, 87.38, 41.61, 45.48, 58.11), few),
        cited("ldam-drw", "LDAM+DRW", (77.03, 81.03, 88.16, 42.04, 46.62, 58.71), few),
        cited("elf-ldam-drw", "ELF(LDAM)+DRW", (78.10, 82.40, 88.00, 43.10, 47.50, 58.90), few),
        ride_row("ride-3", "RIDE (3 experts)", (None, None, None, 48.6, None, None), 3),
        row("reslt", "ResLT", (80.44, 83.46, 89.06, 45.34, 49.98, 60.79)),
        strong_row("reslt-strong", "ResLT§", (82.40, 85.17, 89.70, 48.21, 52.71, 62.01)),
        experts_row("reslt-3-experts", "ResLT (3 experts)", (None, None, None, 49.73, 54.51, 63.73), 3, OWN),
    )


@register("reslt-table9", kind="tables", paper=PAPER)
def table9() -> Table:
    """Two to five groups of classes."""
    expected = {2: (78.83, 45.11), 3: (80.44, 45.34), 4: (80.80, 45.34), 5: (80.44, 45.14)}
    rows: list[Row] = []
    for number, values in expected.items():
        note: dict[str, Any] = {} if number == 3 else {"note": f"{FEWER} {BEST}"}
        rows.append(row(f"groups{number}", f"#{number}", values, branches=number, **note))
    return table(9, "Number of groups", (cifar_column("cifar10", 100), cifar_column("cifar100", 100)), *rows)
