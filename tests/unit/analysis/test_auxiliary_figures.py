"""Figures of auxiliary learning draw the numbers they are given."""

from __future__ import annotations

import numpy as np
import pytest

from tailwise.analysis.class_losses import class_loss_curves
from tailwise.analysis.gain_bars import gains_over
from tailwise.analysis.tsne import chosen_classes, chosen_images, embedding, tsne
from tailwise.analysis.weight_norms import vector_lengths, weight_norms
from tailwise.core.errors import DataError
from tests.unit.analysis.test_figures import bars

COUNTS = [5, 300, 40, 120]


def log(losses: list[list[float | None]]) -> list[dict[str, object]]:
    return [{"event": "class losses", "epoch": epoch, "loss": row} for epoch, row in enumerate(losses, start=1)]


def test_gains_over_two_baselines_are_differences_in_frequency_order() -> None:
    figure = gains_over(
        [50.0, 80.0, None, 70.0],
        {"ce": [0.0, 90.0, 60.0, 65.0], "cbs-only": [40.0, 60.0, 60.0, 60.0]},
        COUNTS,
        name="cbs-rrs",
        shots="oltr",
    )
    assert bars(figure, 0) == [-10.0, 5.0, 0.0, 50.0]
    assert bars(figure, 1) == [20.0, 10.0, 0.0, 10.0]
    titles = [panel.get_title(loc="left") for panel in figure.axes]
    assert titles == ["cbs-rrs \N{MINUS SIGN} ce", "cbs-rrs \N{MINUS SIGN} cbs-only"]


def test_weight_norms_are_lengths_over_their_mean_in_frequency_order() -> None:
    weight = np.array([[3.0, 4.0], [0.0, 1.0], [6.0, 8.0], [0.0, 0.0]])
    lengths = vector_lengths(weight)
    np.testing.assert_allclose(lengths, [5, 1, 10, 0])
    figure = weight_norms({"ce": lengths}, COUNTS, class_names=list("abcd"))
    line = figure.axes[0].lines[0]
    np.testing.assert_allclose(np.asarray(line.get_ydata()), np.array([1, 0, 10, 5]) / 4)
    assert line.get_label() == "ce (mean 4.00, deviation 3.94)"


def test_class_losses_are_those_of_the_smallest_and_the_largest_class() -> None:
    records = log([[2.0, 1.0, 9.0, 9.0], [None, 0.5, 9.0, 9.0], [1.0, 0.25, 9.0, 9.0]])
    figure = class_loss_curves({"ce": [records]}, COUNTS)
    tail, head = (np.asarray(panel.lines[0].get_ydata(), dtype=float) for panel in figure.axes)
    np.testing.assert_array_equal(tail, [2.0, np.nan, 1.0])
    np.testing.assert_array_equal(head, [1.0, 0.5, 0.25])
    other = class_loss_curves({"ce": [records]}, COUNTS, labels=[2], class_names=list("abcd"))
    assert other.axes[0].get_title(loc="left") == "class c: 40 training images"
    with pytest.raises(DataError, match="ce has no training losses by class in its log; train with --class-losses"):
        class_loss_curves({"ce": [[{"event": "epoch", "epoch": 1}]]}, COUNTS)


def test_classes_of_a_map_are_spread_over_each_group() -> None:
    counts = np.arange(400, 0, -2)
    found = chosen_classes(counts, "oltr", 3)
    assert found == {"many": [0, 75, 150], "medium": [151, 170, 189], "few": [190, 194, 199]}
    assert chosen_classes([300, 200, 5], "oltr", 6) == {"many": [0, 1], "medium": [], "few": [2]}
    labels = np.array([1, 0, 1, 2, 1, 0])
    assert chosen_images(labels, [1, 0], 2).tolist() == [0, 2, 1, 5]


def test_a_map_keeps_separate_clusters_apart_and_is_the_same_for_the_same_seed() -> None:
    rng = np.random.default_rng(0)
    features = np.concatenate([rng.normal(10 * k, 0.1, (20, 5)) for k in range(2)])
    points = embedding(features, seed=1)
    np.testing.assert_array_equal(points, embedding(features, seed=1))
    own = np.linalg.norm(points[:20] - points[:20].mean(0), axis=1).mean()
    assert np.linalg.norm(points[:20].mean(0) - points[20:].mean(0)) > 2 * own
    labels = np.repeat([0, 1], 20)
    figure = tsne({"ce": (points, labels)}, {"many": [0], "few": [1]})
    assert [panel.get_title(loc="left") for panel in figure.axes] == ["ce, many", "ce, few"]
    drawn = figure.axes[0].collections[1].get_offsets()
    np.testing.assert_allclose(np.asarray(drawn), points[:20], rtol=1e-6)
    with pytest.raises(DataError, match="a map of features needs at least three images, got 2"):
        embedding(features[:2])
