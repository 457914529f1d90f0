from __future__ import annotations

import itertools

import numpy as np
import torch
from torchvision.transforms.v2 import functional as F

from tailwise.augment.color_jitter import color_jitter, draw_jitter

ORDERS = list(itertools.permutations(range(3)))


def test_every_order_equals_torchvision_s_three_changes() -> None:
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.random((18, 3, 9, 7))).float()
    factor = torch.from_numpy(rng.uniform(0, 2, (18, 3))).float()
    order = torch.tensor([ORDERS[number % 6] for number in range(18)])
    changes = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation)
    got = color_jitter(images * 255, factor, order)
    for image, factors, turns, ours in zip(images, factor.tolist(), order.tolist(), got, strict=True):
        expected = image
        for turn in turns:
            expected = changes[turn](expected, factors[turn])
        torch.testing.assert_close(ours / 255, expected, rtol=1e-5, atol=1e-5)
    first = color_jitter(images * 255, factor, torch.tensor([ORDERS[0]] * 18))
    assert not torch.allclose(first, got)


def test_factors_of_one_change_nothing() -> None:
    images = torch.rand(2, 3, 5, 5) * 255
    got = color_jitter(images, torch.ones(2, 3), torch.tensor([[0, 1, 2], [2, 0, 1]]))
    torch.testing.assert_close(got, images)


def test_factors_are_uniform_and_every_order_is_as_likely() -> None:
    factor, order = draw_jitter((50, 120), 0.4, np.random.default_rng(0), np.random.default_rng(1))
    assert factor.shape == order.shape == (50, 120, 3)
    assert factor.dtype == np.float32
    assert 0.6 <= factor.min() < 0.61
    assert 1.39 < factor.max() <= 1.4
    assert np.abs(np.histogram(factor, bins=8, range=(0.6, 1.4))[0] / factor.size - 1 / 8).max() < 0.01
    found = {turns: (order == turns).all(axis=-1).mean() for turns in ORDERS}
    assert abs(sum(found.values()) - 1) < 1e-12
    assert max(abs(share - 1 / 6) for share in found.values()) < 0.02


def test_factors_are_never_negative() -> None:
    factor, _ = draw_jitter((1000,), 3.0, np.random.default_rng(0), np.random.default_rng(1))
    assert 0 <= factor.min() < 0.05
    assert 3.9 < factor.max() <= 4


def test_the_jitter_is_one_graph() -> None:
    images, factor = torch.rand(3, 3, 4, 4) * 255, torch.rand(3, 3)
    order = torch.tensor([[0, 1, 2], [2, 1, 0], [1, 0, 2]])
    compiled = torch.compile(color_jitter, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(images, factor, order), color_jitter(images, factor, order))
