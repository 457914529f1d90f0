"""Tables 7 and 8 of zhang2021bag: deferred re-sampling and deferred re-weighting."""

from __future__ import annotations

from tailwise.core.registry import register
from tailwise.engine.recipe import Recipe
from tailwise.losses.cost_sensitive_focal import CostSensitiveFocal
from tailwise.losses.focal import Focal
from tailwise.objectives.classification import Classification
from tailwise.recipes import cam, reweighting, stages, two_stage
from tailwise.recipes.bag_of_tricks.common import PAPER, baseline, both, table
from tailwise.recipes.bag_of_tricks.one_stage import BETA, OPEN, cb_focal_loss
from tailwise.recipes.base import RecipeFunction, replace_stage
from tailwise.recipes.settings import stepped_early
from tailwise.report.paper import Row, Table
from tailwise.samplers.base import Sampler
from tailwise.samplers.power import Power
from tailwise.samplers.progressive import Progressive

CAM = (
    "Lengths (160 + 40 epochs) and rates are those of the code; its maps come from the epoch best on the test images, "
    "ours from the last."
)
NO_CODE = "The authors published no code for this row."
FOCAL = "Printed with cross-entropy in the first stage; the code has focal loss there."


def cam_official(sampler: Sampler) -> RecipeFunction:
    """CAM-based sampling as the authors' code runs."""

    def official(base: Recipe) -> Recipe:
        return cam.cam_sampling(base, sampler, "official")

    return official


def cam_progressive_official(base: Recipe) -> Recipe:
    """Progressively-balanced; the epochs of the progress are those of the second stage, from 1."""
    length = cam.cam_sampling(base, Power(), "official").stages[1].epochs
    return cam.cam_sampling(base, Progressive(start=1 / length), "official")


def drw_cb_focal(base: Recipe) -> Recipe:
    """Cross-entropy, then class-balanced focal loss."""
    return stages.drw(base, cb_focal_loss(base))


def drw_focal_official(base: Recipe) -> Recipe:
    """Focal loss, then focal loss times inverse class frequency."""
    return stepped_early(stages.drw(reweighting.focal(base), CostSensitiveFocal()))


def drw_cb_focal_official(base: Recipe) -> Recipe:
    """Focal loss, then class-balanced focal loss with the same gamma."""
    loss = cb_focal_loss(base)
    first = replace_stage(base, 0, objective=(Classification(loss=Focal(gamma=loss.gamma)),))
    return stepped_early(stages.drw(first, loss))


@register("bag-of-tricks-table7", kind="tables", paper=PAPER)
def table7() -> Table:
    """Re-sampling in the second stage, with and without generated images."""
    return table(
        7,
        "Re-sampling methods in DRS",
        baseline(label="Baseline without re-sampling"),
        Row("under", "Random under-sampling", two_stage.drs_under_sampling, (28.18, 21.33, 60.21, 55.97), note=OPEN),
        Row("over", "Random over-sampling", two_stage.drs_over_sampling, (28.88, 21.52, 59.76, 55.90), note=OPEN),
        both(
            "class-balanced",
            "Class-balanced sampling",
            two_stage.drs,
            (29.04, 21.34, 59.56, 55.67),
            (24.93, 19.27, 59.36, 54.58),
            (27.08, 21.18, 58.66, 54.26),
        ),
        both(
            "square-root",
            "Square-root sampling",
            two_stage.drs_square_root,
            (31.31, 22.21, 61.02, 57.05),
            (26.78, 21.15, 59.64, 55.46),
        ),
        both(
            "progressive",
            "P-B sampling",
            two_stage.drs_progressive,
            (33.48, 24.58, 61.35, 56.93),
            (26.15, 19.47, 59.59, 54.79),
        ),
        Row(
            "cam-under",
            "CAM-based under-sampling",
            cam.cam_under_sampling,
            (24.98, 19.15, 58.99, 54.17),
            note=f"{CAM} {OPEN}",
        ),
        Row(
            "cam-over",
            "CAM-based over-sampling",
            cam.cam_over_sampling,
            (24.87, 18.82, 58.45, 54.36),
            note=f"{CAM} {OPEN}",
        ),
        cam_balance_row(),
        Row(
            "cam-square-root",
            "CAM-based square-sampling",
            cam.cam_square_root_sampling,
            (28.14, 20.69, 60.07, 55.61),
            cam_official(Power(q=0.5)),
            (26.45, 20.46, 59.33, 54.58),
            note=CAM,
        ),
        Row(
            "cam-progressive",
            "CAM-based progressive-sampling",
            cam.cam_progressive_sampling,
            (27.39, 19.46, 59.67, 55.28),
            cam_progressive_official,
            (27.08, 20.76, 58.92, 53.90),
            note=CAM,
        ),
        Row(
            "image-trans",
            "ImageTrans balance-sampling",
            cam.image_trans_balance_sampling,
            (28.10, 21.60, 59.28, 55.05),
            note=f"{CAM} {NO_CODE}",
        ),
    )


@register("bag-of-tricks-table8", kind="tables", paper=PAPER)
def table8() -> Table:
    """Re-weighting in the second stage."""
    return table(
        8,
        "Re-weighting methods in DRW",
        baseline("ce", "CE"),
        Row(
            "focal",
            "Focal loss",
            two_stage.drw_focal,
            (29.71, 23.77, 61.74, 57.32),
            drw_focal_official,
            (28.85, 20.68, 62.47, 56.39),
            note=FOCAL,
        ),
        Row(
            "cb-focal",
            "CB Focal",
            drw_cb_focal,
            (25.62, 21.25, 61.99, 55.54),
            drw_cb_focal_official,
            (24.57, 18.62, 61.94, 55.01),
            note=f"{BETA} {FOCAL}",
        ),
        cs_ce_row(),
    )


def cs_ce_row() -> Row:
    """Deferred cost-sensitive cross-entropy, in Tables 8 and 9."""
    return both(
        "cs-ce",
        "CS CE",
        two_stage.drw_cs_ce,
        (25.31, 20.81, 58.92, 54.57),
        (25.18, 20.18, 58.38, 53.20),
        (26.66, 20.71, 59.36, 54.77),
    )


def cam_balance_row() -> Row:
    """CAM-based balance-sampling, in Tables 7 and 9."""
    return Row(
        "cam-balance",
        "CAM-based balance-sampling",
        cam.cam_balance_sampling,
        (24.63, 18.60, 58.27, 54.05),
        cam.cam_balance_sampling_official,
        (23.10, 19.28, 58.05, 53.27),
        (23.59, 18.55, 58.38, 53.25),
        note=CAM,
    )
