"""Figures of feature space augmentation: change of the confusion matrix, sweeps, scatter of features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tailwise.analysis.confusion_change import confusion_change
from tailwise.analysis.feature_scatter import feature_scatter, silhouette
from tailwise.analysis.sweeps import sweep, sweep_values
from tailwise.augment.feature_space import FeatureSpace
from tailwise.core.errors import DataError
from tailwise.core.stats import ClassStats
from tailwise.engine.task import Task
from tailwise.evaluation.feature_parts import feature_parts
from tailwise.report.ledger import Result
from tests.helpers import tiny_recipe
from tests.unit.augment import feature_space_reference as reference

COUNTS = [5, 300, 40, 120]


def test_the_change_is_the_difference_of_row_shares_in_frequency_order() -> None:
    before = [[1, 3, 0, 0], [0, 10, 0, 0], [0, 0, 0, 0], [0, 1, 0, 1]]
    after = [[3, 1, 0, 0], [1, 9, 0, 0], [0, 0, 0, 0], [0, 0, 0, 2]]
    left, right, *_ = confusion_change(before, after, COUNTS, class_names=list("abcd")).axes
    # In frequency order: b, d, c, a.
    expected = [[-0.1, 0, 0, 0.1], [-0.5, 0.5, 0, 0], [np.nan] * 4, [-0.5, 0, 0, 0.5]]
    array = right.images[0].get_array()
    assert array is not None
    np.testing.assert_allclose(np.ma.asarray(array).filled(np.nan), expected, atol=1e-12)
    assert [text.get_text() for text in right.texts] == ["-10", "+10", "-50", "+50", "-50", "+50"]
    assert left.get_title(loc="left") == "before"
    nothing = confusion_change(np.zeros((4, 4)), np.zeros((4, 4)), COUNTS)
    assert not nothing.axes[1].texts


def test_a_sweep_shows_mean_and_spread_at_every_place() -> None:
    figure = sweep({"IF 100": {0.95: [80.0, 82.0], 0.8: [70.0, 70.0]}, "IF 200": {0.8: [60.0]}}, label="h_r")
    first, second = figure.axes[0].containers
    np.testing.assert_allclose(first.lines[0].get_xydata(), [[0.8, 70.0], [0.95, 81.0]])  # pyright: ignore
    np.testing.assert_allclose(second.lines[0].get_xydata(), [[0.8, 60.0]])  # pyright: ignore
    (bars,) = first.lines[2]  # pyright: ignore
    np.testing.assert_allclose(bars.get_segments()[1][:, 1], [81 - 2**0.5, 81 + 2**0.5])
    named = sweep({"ours": {"block2": [1.0], "block4": [2.0]}}, label="depth")
    assert [label.get_text() for label in named.axes[0].get_xticklabels()] == ["block2", "block4"]


def test_a_sweep_refuses_what_it_cannot_draw() -> None:
    with pytest.raises(DataError, match="a sweep needs places that are all numbers or all names, got"):
        sweep({"a": {1.0: [1.0], "b": [2.0]}}, label="x")
    with pytest.raises(DataError, match="a sweep needs places"):
        sweep({}, label="x")
    with pytest.raises(DataError, match=r"no 'top9' for 0\.5 of ours"):
        sweep_values({"ours": {0.5: [_result(0, 50.0)]}}, "top9")
    with pytest.raises(DataError, match=r"no 'top1' for 0\.5 of ours"):
        sweep_values({"ours": {0.5: []}})


def _result(seed: int, top1: float) -> Result:
    record: dict[str, Any] = {"seed": seed, "select": "last", "last": {"top1": top1}}
    return Result(Path("x"), record)


def test_the_numbers_of_a_sweep_come_from_results_one_for_each_seed() -> None:
    found = sweep_values({"ours": {0.9: [_result(1, 52.0), _result(0, 50.0)], 0.5: [_result(0, 40.0)]}})
    assert found == {"ours": {0.9: [50.0, 52.0], 0.5: [40.0]}}


def test_feature_parts_are_the_means_inside_the_masks() -> None:
    recipe = tiny_recipe()
    torch.manual_seed(0)
    network = Task(recipe, ClassStats([9, 5, 3, 2])).network.eval()
    images = torch.randint(0, 256, (3, 3, 24, 24), dtype=torch.uint8)
    labels, spec = torch.tensor([2, 0, 3]), FeatureSpace(tau_specific=0.6, tau_generic=0.3)
    parts = feature_parts(network, images, labels, spec)
    with torch.no_grad():
        maps = network.maps(network.pixel(images)).double().numpy()
    weight = network.head.classifier_weight.detach().double().numpy()
    for number, label in enumerate(labels.tolist()):
        cam = reference.activation(maps[number], weight[label])
        for name, mask in (("class-specific", cam >= 0.6), ("class-generic", cam <= 0.3)):
            np.testing.assert_allclose(parts[name][number], maps[number][:, mask].mean(1), rtol=1e-4, atol=1e-5)


def test_the_scatter_shows_every_image_and_how_well_classes_are_separated() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 2], 12)
    apart = rng.normal(size=(24, 5)) + 20 * labels[:, None]
    mixed = rng.normal(size=(24, 5))
    figure = feature_scatter({"specific": apart, "generic": mixed}, labels, ["a", "b", "c"])
    for axes in figure.axes:
        assert sum(len(np.asarray(points.get_offsets())) for points in axes.collections) == 24
    assert silhouette(apart, labels) > 0.9 > 0.3 > silhouette(mixed, labels)
    assert figure.axes[0].get_title(loc="left") == f"specific (silhouette {silhouette(apart, labels):.2f})"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "c"]
    assert np.isnan(silhouette(mixed[:2], np.array([0, 0])))
