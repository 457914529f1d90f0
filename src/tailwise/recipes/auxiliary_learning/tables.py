"""Tables 1 to 5 of zhang2019balance: main comparisons, stage-wise training, weights of the tasks, rotation."""

from __future__ import annotations

from tailwise.core.registry import register
from tailwise.recipes.auxiliary_learning.common import (
    PAPER,
    ablation_columns,
    cbs_only,
    cbs_rrs,
    ft_rrs_cbs,
    rotation_augmentation,
    rrs_only,
    table,
    table1_columns,
    table2_columns,
)
from tailwise.report.paper import Numbers, Row, Table

#: Rows of ImageNet-LT with ResNet-10 and Places-LT with ResNet-50 that stand in several of Tables 3 to 5.
RRS: Numbers = (53.4, 23.5, 4.3, 32.4, 39.1, 12.0, 0.3, 19.3)
CBS: Numbers = (35.4, 31.5, 18.6, 31.2, 32.1, 22.9, 4.6, 22.4)
BOTH: Numbers = (51.0, 38.5, 21.0, 40.9, 35.6, 29.3, 11.3, 27.8)
WITH_ROTATION: Numbers = (52.4, 39.5, 21.0, 41.9, 35.8, 31.0, 12.7, 28.9)


def _cited(name: str, label: str, expected: Numbers) -> Row:
    return Row(name, label, None, expected)


@register("auxiliary-learning-table1", kind="tables", paper=PAPER)
def table1() -> Table:
    """ImageNet-LT with ResNet-10 from scratch and Places-LT with pretrained ResNet-152."""
    return table(
        1,
        "ImageNet-LT (ResNet-10) and Places-LT (pretrained ResNet-152)",
        table1_columns(),
        _cited("lifted", "Lifted Loss", (35.8, 30.4, 17.9, 30.8, 41.1, 35.4, 24.0, 35.2)),
        _cited("focal", "Focal Loss", (36.4, 29.9, 16.0, 30.5, 41.1, 34.8, 22.4, 34.6)),
        _cited("range", "Range Loss", (35.8, 30.3, 17.6, 30.7, 41.1, 35.4, 23.2, 35.1)),
        _cited("cost-sensitive", "Cost-Sensitive", (37.2, 30.9, 15.9, 31.2, 38.8, 36.9, 20.9, 34.2)),
        _cited("fslwf", "FSLwF", (40.9, 22.1, 15.0, 28.4, 43.9, 29.9, 29.5, 34.9)),
        _cited("memorynet", "MemoryNet", (43.2, 35.1, 18.5, 35.6, 44.7, 37.0, 25.3, 35.9)),
        _cited("memorynet-rerun", "MemoryNet*", (47.9, 37.0, 16.6, 38.3, 44.4, 39.3, 27.3, 38.6)),
        rrs_only((53.4, 23.5, 4.3, 32.4, 47.4, 27.1, 10.5, 31.0)),
        cbs_only((35.4, 31.5, 18.6, 31.2, 46.9, 34.9, 18.1, 35.7)),
        cbs_rrs((51.0, 38.5, 21.0, 40.9, 42.5, 40.3, 32.2, 39.4)),
        cbs_rrs((52.4, 39.5, 21.0, 41.9, 42.5, 40.6, 32.6, 39.6), "cbs-rrs-ss", "CBS+RRS+SS", (0.5, 1.0, 1.0)),
    )


@register("auxiliary-learning-table2", kind="tables", paper=PAPER)
def table2() -> Table:
    """ImageNet-LT and Places-LT with ResNet-50 from scratch."""
    return table(
        2,
        "ImageNet-LT and Places-LT (ResNet-50 from scratch)",
        table2_columns(),
        _cited("triplet", "Triplet Loss", (48.3, 39.5, 19.3, 40.0, 30.4, 27.8, 6.8, 24.3)),
        _cited("focal", "Focal Loss", (49.0, 39.2, 19.1, 40.1, 26.2, 22.8, 6.2, 20.5)),
        _cited("proxy", "Proxy Loss", (49.0, 38.9, 17.7, 39.8, 30.3, 24.4, 4.8, 22.4)),
        _cited("cost-sensitive", "Cost-Sensitive", (48.0, 38.8, 19.6, 39.6, 27.1, 26.4, 16.9, 24.6)),
        _cited("memorynet-rerun", "MemoryNet*", (56.6, 39.3, 16.4, 42.7, 34.1, 26.2, 8.2, 25.3)),
        rrs_only((61.3, 32.2, 7.2, 39.9, 39.1, 12.0, 0.3, 19.3)),
        cbs_only((51.1, 38.2, 16.7, 40.1, 32.1, 22.9, 4.6, 22.4)),
        cbs_rrs((59.0, 43.5, 22.8, 46.5, 35.6, 29.3, 11.3, 27.8)),
        cbs_rrs((60.2, 44.0, 23.1, 47.3, 35.8, 31.0, 12.7, 28.9), "cbs-rrs-ss", "CBS+RRS+SS", (0.5, 1.0, 1.0)),
    )


@register("auxiliary-learning-table3", kind="tables", paper=PAPER)
def table3() -> Table:
    """Auxiliary learning against training in two stages."""
    return table(
        3,
        "Auxiliary learning and stage-wise training",
        ablation_columns(),
        rrs_only(RRS),
        cbs_only(CBS),
        ft_rrs_cbs((48.3, 35.2, 16.4, 37.6, 29.3, 27.6, 10.3, 24.6)),
        cbs_rrs(BOTH),
    )


@register("auxiliary-learning-table4", kind="tables", paper=PAPER)
def table4() -> Table:
    """Five ratios of the weights of class-balanced and regular sampling."""
    return table(
        4,
        "Weights of class-balanced and regular sampling",
        ablation_columns(),
        rrs_only(RRS, "weights-0-1", "0:1 (RRS-Only)"),
        cbs_rrs(BOTH, "weights-0.5-1", "0.5:1"),
        cbs_rrs((49.4, 37.7, 19.8, 39.6, 37.8, 27.6, 7.8, 27.1), "weights-1-1", "1:1", (1.0, 1.0, 0.0)),
        cbs_rrs((46.0, 35.5, 17.8, 37.0, 34.9, 26.9, 6.9, 25.6), "weights-1-0.5", "1:0.5", (1.0, 0.5, 0.0)),
        cbs_only(CBS, "weights-1-0", "1:0 (CBS-Only)"),
        note="The ratios 0:1 and 1:0 are the recipes with one sampler: the paper has the same numbers for them.",
    )


@register("auxiliary-learning-table5", kind="tables", paper=PAPER)
def table5() -> Table:
    """Rotation as augmentation and as a task."""
    return table(
        5,
        "Rotation as augmentation and as auxiliary task",
        ablation_columns(),
        cbs_rrs(BOTH, "without-rotation", "w/o Rotation"),
        rotation_augmentation((50.5, 39.1, 22.1, 41.0, 35.3, 28.2, 11.4, 27.2)),
        cbs_rrs(WITH_ROTATION, "cbs-rrs-ss", "CBS+RRS+SS", (0.5, 1.0, 1.0)),
    )
