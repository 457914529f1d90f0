"""Class activation maps against loops in float64, and the networks that have none."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tailwise.core.errors import TailwiseError
from tailwise.models.cam import class_activation_maps


def by_hand(maps: np.ndarray, weight: np.ndarray, labels: list[int]) -> np.ndarray:
    count, width, height, columns = maps.shape
    out = np.zeros((count, height, columns))
    for image in range(count):
        for row in range(height):
            for column in range(columns):
                for feature in range(width):
                    out[image, row, column] += weight[labels[image], feature] * maps[image, feature, row, column]
        out[image] -= out[image].min()
        out[image] /= out[image].max()
    return out


def test_maps_are_weighted_sums_from_least_to_largest() -> None:
    rng = np.random.default_rng(0)
    maps, weight, labels = rng.normal(size=(4, 5, 3, 2)), rng.normal(size=(6, 5)), [0, 5, 2, 5]
    found = class_activation_maps(torch.from_numpy(maps), torch.from_numpy(weight), torch.tensor(labels))
    np.testing.assert_allclose(found.numpy(), by_hand(maps, weight, labels), atol=1e-12)
    assert found.amin((1, 2)).eq(0).all()
    assert found.amax((1, 2)).eq(1).all()


def test_negative_places_count_and_scale_and_shift_of_a_map_do_not() -> None:
    maps = torch.tensor([[[[-3.0, -2.0], [-1.0, 1.0]]]])
    found = class_activation_maps(maps, torch.ones(1, 1), torch.tensor([0]))
    torch.testing.assert_close(found, torch.tensor([[[0.0, 0.25], [0.5, 1.0]]]))
    torch.testing.assert_close(class_activation_maps(maps * 7 + 2, torch.ones(1, 1), torch.tensor([0])), found)


def test_a_map_without_differences_is_zero() -> None:
    assert not class_activation_maps(torch.ones(1, 3, 2, 2), torch.ones(2, 3), torch.tensor([1])).any()


def test_half_precision_is_not_rounded_further() -> None:
    maps, weight = torch.randn(2, 8, 3, 3).bfloat16(), torch.randn(4, 8)
    labels = torch.tensor([1, 3])
    with torch.autocast("cpu", torch.bfloat16):
        found = class_activation_maps(maps, weight, labels)
    assert found.dtype == torch.float32
    exact = class_activation_maps(maps.double(), weight.double(), labels)
    torch.testing.assert_close(found.double(), exact, rtol=0, atol=1e-6)


def test_features_without_maps_and_classifiers_of_another_width_are_refused() -> None:
    with pytest.raises(TailwiseError) as error:
        class_activation_maps(torch.zeros(2, 8), torch.zeros(4, 8), torch.tensor([0, 1]))
    assert str(error.value) == (
        "class activation maps need a backbone with feature maps [B, D, h, w]; this one gives features of shape [2, 8]"
    )
    with pytest.raises(TailwiseError) as error:
        class_activation_maps(torch.zeros(2, 8, 3, 3), torch.zeros(4, 6), torch.tensor([0, 1]))
    assert str(error.value) == (
        "class activation maps need a classifier [C, 8] for maps of shape [2, 8, 3, 3]; this head has [4, 6]"
    )
