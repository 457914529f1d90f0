"""Figures draw the numbers they are given, in frequency order, and become clean inline SVG."""

from __future__ import annotations

import io
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from tailwise.analysis.branches import branches
from tailwise.analysis.cam_overlay import cam_overlay
from tailwise.analysis.class_counts import class_counts
from tailwise.analysis.confusion_plot import confusion_plot
from tailwise.analysis.curves import curves
from tailwise.analysis.figure import (
    COLOURS,
    STRONG,
    block_means,
    blocks,
    figure_to_svg,
    frequency_order,
    look,
    short,
)
from tailwise.analysis.flow_plot import flow_plot
from tailwise.analysis.gain_bars import gain_bars
from tailwise.analysis.groups import groups
from tailwise.analysis.reliability import reliability

COUNTS = [5, 300, 40, 120]


def bars(figure: Figure, panel: int = 0) -> list[float]:
    return [patch.get_height() for patch in figure.axes[panel].patches if isinstance(patch, Rectangle)]


def texts(svg: str) -> str:
    return "|".join(ElementTree.fromstring(svg).itertext())


def test_class_sizes_and_accuracies_stand_in_frequency_order() -> None:
    figure = class_counts(COUNTS, per_class={"ce": [1.0, 2.0, None, 4.0]}, class_names=list("abcd"), shots="oltr")
    assert bars(figure) == [300, 120, 40, 5]
    accuracy = np.asarray(figure.axes[1].lines[0].get_ydata(), dtype=float)
    np.testing.assert_array_equal(accuracy, [2, 4, np.nan, 1])
    assert [label.get_text() for label in figure.axes[1].get_xticklabels()] == list("bdca")
    found = texts(figure_to_svg(figure))
    assert all(group in found for group in ("many", "medium", "few"))


def test_gain_bars_are_the_gains_in_frequency_order() -> None:
    figure = gain_bars({"ldam": [10.0, -2.0, 3.0, None]}, COUNTS, baseline="ce", class_names=list("abcd"))
    assert bars(figure) == [-2.0, 0.0, 3.0, 10.0]
    assert figure.axes[0].get_title(loc="left") == "ldam \N{MINUS SIGN} ce"


def evaluation(top1: float, few: float | None, **branch_top1: float) -> dict[str, object]:
    groups = {"many": 90.0, "medium": 50.0, "few": few}
    alone = {name: {"top1": value, "groups": groups} for name, value in branch_top1.items()}
    return {"top1": top1, "groups": {key: {"accuracy": value} for key, value in groups.items()}, "branches": alone}


def test_branches_are_drawn_with_their_mean_over_seeds() -> None:
    records = [evaluation(70.0, 20.0, branch0=60.0, branch1=40.0), evaluation(74.0, 30.0, branch0=62.0, branch1=44.0)]
    figure = branches(records)
    assert bars(figure) == [72.0, 90.0, 50.0, 25.0, 61.0, 90.0, 50.0, 25.0, 42.0, 90.0, 50.0, 25.0]
    found = texts(figure_to_svg(figure))
    assert all(name in found for name in ("all branches", "main branch", "residual branch 1"))
    without = branches([evaluation(70.0, None, branch0=60.0, expert=40.0)])
    assert bars(without) == [70.0, 90.0, 50.0, 60.0, 90.0, 50.0, 40.0, 90.0, 50.0]
    assert "expert" in texts(figure_to_svg(without))
    with pytest.raises(ValueError, match="expected at least one evaluation, each with the accuracy of its branches"):
        branches([{**records[0], "branches": {}}])


def test_many_classes_are_averaged_in_runs_that_cover_each_class_once() -> None:
    values = np.random.default_rng(0).normal(size=1003)
    runs = blocks(1003)
    assert len(runs) == 100
    np.testing.assert_array_equal(np.concatenate(runs), np.arange(1003))
    means = block_means(values, runs)
    np.testing.assert_allclose(means @ np.array([run.size for run in runs]), values.sum())
    figure = gain_bars({"a": values.tolist()}, np.arange(1003, 0, -1), baseline="ce")
    np.testing.assert_allclose(bars(figure), means)


def test_block_means_leave_out_what_is_missing() -> None:
    found = block_means(np.array([1.0, np.nan, np.nan, np.nan]), blocks(4, 2))
    np.testing.assert_array_equal(found, [1.0, np.nan])


def test_group_bars_show_values_and_mark_an_empty_group() -> None:
    figure = groups({"ce": {"many": (80.0, 1.5), "few": None}, "ldam": {"many": (70.0, None), "few": None}})
    assert bars(figure) == [80.0, 70.0]
    found = texts(figure_to_svg(figure))
    assert "80.0" in found
    assert found.count("\N{EN DASH}") == 2


def test_curves_take_the_later_record_of_an_epoch_and_mark_stages() -> None:
    records = [
        {"event": "epoch", "stage": 0, "epoch": 1, "loss": 2.0},
        {"event": "epoch", "stage": 0, "epoch": 2, "loss": 9.0},
        {"event": "epoch", "stage": 0, "epoch": 2, "loss": 1.0},
        {"event": "epoch", "stage": 1, "epoch": 3, "loss": float("nan")},
        {"event": "evaluation", "stage": 1, "epoch": 3, "top1": 55.0},
    ]
    figure = curves({"ce": [records]})
    accuracy, loss = figure.axes
    assert np.asarray(accuracy.lines[0].get_xydata()).tolist() == [[3.0, 55.0]]
    assert np.asarray(loss.lines[0].get_xydata()).tolist() == [[1.0, 2.0], [2.0, 1.0]]
    assert np.asarray(loss.lines[1].get_xdata()).tolist() == [2.5, 2.5]


def test_the_confusion_matrix_shows_row_shares_in_frequency_order() -> None:
    confusion = [[1, 3, 0, 0], [0, 10, 0, 0], [0, 0, 0, 0], [0, 1, 0, 1]]
    figure = confusion_plot(confusion, COUNTS, class_names=list("abcd"), shots="oltr")
    array = figure.axes[0].images[0].get_array()
    assert array is not None
    shown = np.ma.asarray(array).filled(np.nan)
    expected = [[1, 0, 0, 0], [0.5, 0.5, 0, 0], [np.nan] * 4, [0.75, 0, 0, 0.25]]
    np.testing.assert_allclose(shown, expected)


def test_a_large_confusion_matrix_keeps_row_sums_when_classes_are_run_together() -> None:
    rng = np.random.default_rng(0)
    confusion = rng.integers(0, 3, size=(250, 250)) + np.eye(250, dtype=int)
    shown = np.asarray(confusion_plot(confusion, np.arange(250, 0, -1)).axes[0].images[0].get_array())
    assert shown.shape == (100, 100)
    np.testing.assert_allclose(shown.sum(axis=1), 1.0)
    shares = confusion / confusion.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(shown[0, 0], shares[:3, :3].sum() / 3)


def test_the_reliability_diagram_leaves_out_empty_bins() -> None:
    bins = {"edges": [0, 0.5, 1], "accuracy": [None, 0.8], "confidence": [None, 0.9], "count": [0, 10]}
    figure = reliability({"ce": bins}, {"ce": 10.0})
    np.testing.assert_allclose(np.asarray(figure.axes[0].lines[1].get_xydata()), [[90.0, 80.0]])
    assert "ce (ECE 10.0 %)" in texts(figure_to_svg(figure))


def test_svg_is_stable_and_fit_for_inlining() -> None:
    def draw(name: str) -> str:
        return figure_to_svg(class_counts(COUNTS, class_names=["<b>", "$\\frac{$", 'id="x #22262b', "a&b"]), name)

    svg = draw("one")
    assert svg == draw("one")
    assert svg.startswith("<svg")
    root = ElementTree.fromstring(svg)
    found = "|".join(root.itertext())
    assert all(name in found for name in ("<b>", "$\\frac{$", 'id="x #22262b', "a&b"))
    assert "xmlns" not in svg
    assert "metadata" not in svg
    assert "var(--ink)" in svg
    ids = {element.get("id") for element in root.iter()} - {None}
    assert all(str(name).startswith("one-") for name in ids)
    assert not ids & {element.get("id") for element in ElementTree.fromstring(draw("two")).iter()} - {None}


def test_a_figure_can_be_saved_as_a_file_too() -> None:
    buffer = io.BytesIO()
    class_counts(COUNTS, class_names=["$x", "b", "c", "d"]).savefig(buffer, format="png")
    assert buffer.getvalue().startswith(b"\x89PNG")


def test_figures_leave_the_global_style_alone() -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    class_counts(COUNTS)
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize(("text", "expected"), [("cat", "cat"), ("a\nb", "a b"), ("x" * 30, "xxxxxx…xxx")])
def test_labels_are_one_short_line(text: str, expected: str) -> None:
    assert short(text, 10) == expected


def test_equal_counts_keep_label_order() -> None:
    assert frequency_order([3, 7, 7, 3]).tolist() == [1, 2, 0, 3]


def test_series_differ_in_colour_marker_or_dashes() -> None:
    looks = [look(number) for number in range(28)]
    assert len({str(value) for value in looks}) == 28
    assert {colour for colour, _, _ in looks[:7]} == set(COLOURS)


def luminance(colour: str) -> float:
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [v / 12.92 if v <= 0.03928 else ((v + 0.055) / 1.055) ** 2.4 for v in channels]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


@pytest.mark.parametrize("page", ["#ffffff", "#15181c"])
def test_colours_stand_out_from_light_and_dark_pages(page: str) -> None:
    for colour in COLOURS:
        bright, dim = sorted((luminance(colour), luminance(page)), reverse=True)
        assert (bright + 0.05) / (dim + 0.05) > 2.0, colour


@pytest.mark.parametrize(("page", "strong"), [("#ffffff", "#000000"), ("#15181c", "#ffffff")])
def test_numbers_in_the_confusion_matrix_can_be_read_at_every_share(page: str, strong: str) -> None:
    shares = np.linspace(0.01, 1, 20)
    confusion = np.zeros((20, 20))
    confusion[:, 0], confusion[:, 1] = shares, 1 - shares
    axes = confusion_plot(1000 * confusion, np.arange(20, 0, -1)).axes[0]
    image = axes.images[0]
    ground = np.array([int(page[place : place + 2], 16) for place in (1, 3, 5)])
    for text in axes.texts:
        column, row = text.get_position()
        share = float(np.asarray(image.get_array())[int(row), int(column)])
        *rgb, alpha = image.cmap(image.norm(share))
        mixed = np.rint(255 * np.array(rgb) * alpha + ground * (1 - alpha)).astype(int)
        ink = strong if text.get_color() == STRONG else str(text.get_color())
        pair = sorted((luminance(ink), luminance("#" + "".join(f"{value:02x}" for value in mixed))), reverse=True)
        assert (pair[0] + 0.05) / (pair[1] + 0.05) >= 4.5, (share, ink)


def test_bars_of_many_recipes_carry_no_numbers_that_would_overlap() -> None:
    few = groups({f"r{n}": {"few": (50.0 + n, 1.0)} for n in range(3)})
    many = groups({f"r{n}": {"few": (50.0 + n, 1.0)} for n in range(9)})
    assert "52.0" in texts(figure_to_svg(few))
    assert "52.0" not in texts(figure_to_svg(many))
    assert len(bars(many)) == 9
    assert len({(patch.get_facecolor(), patch.get_hatch()) for patch in many.axes[0].patches}) == 9


def test_a_recipe_whose_first_group_is_empty_still_has_a_legend() -> None:
    figure = groups({"ce": {"many": None, "few": (20.0, None)}})
    assert "ce" in texts(figure_to_svg(figure)).split("|")


def test_thousands_of_dots_become_a_picture_and_stay_small() -> None:
    rng = np.random.default_rng(0)
    per_class = {name: rng.uniform(0, 100, 3000).tolist() for name in ("a", "b")}
    svg = figure_to_svg(class_counts(np.arange(3000, 0, -1), per_class=per_class))
    assert "data:image/png;base64," in svg
    assert len(svg) < 600_000
    few = {name: values[:40] for name, values in per_class.items()}
    assert "data:image" not in figure_to_svg(class_counts(np.arange(40, 0, -1), per_class=few))


def test_the_flow_bars_are_the_shares_in_order() -> None:
    flow = {"right": 50.0, "many": 30.0, "medium": 0.0, "few": 20.0, "no group": 0.0}
    figure = flow_plot({"ce": {"many": flow, "medium": None, "few": flow}})
    panel = figure.axes[0]
    widths = [(patch.get_x(), patch.get_width()) for patch in panel.patches if isinstance(patch, Rectangle)]
    assert widths == [(0.0, 50.0), (50.0, 30.0), (80.0, 20.0)]
    found = texts(figure_to_svg(figure))
    assert "another many-shot class" in found
    assert "another medium-shot class" not in found
    assert "\N{EN DASH}" in found
    assert len({patch.get_hatch() for patch in panel.patches}) == 3


def test_an_overlay_is_yellow_where_the_map_is_high_and_blue_where_it_is_low() -> None:
    image = np.full((8, 8, 3), 128, dtype=np.uint8)
    level = np.zeros((2, 2), dtype=np.float32)
    level[0, 0] = 1.0
    shown = cam_overlay(image, level, 64)
    assert (shown.shape, shown.dtype) == ((64, 64, 3), np.uint8)
    red, _, blue = shown[0, 0].astype(int)
    assert red > blue + 80
    red, _, blue = shown[-1, -1].astype(int)
    assert blue > red
    np.testing.assert_array_equal(cam_overlay(image, level), cam_overlay(image, level, 8))


def test_an_overlay_keeps_the_shape_of_a_wide_image() -> None:
    assert cam_overlay(np.zeros((10, 20, 3), dtype=np.uint8), np.zeros((3, 3)), 30).shape == (30, 60, 3)
