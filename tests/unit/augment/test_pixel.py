from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from tailwise.augment.pixel import Pixel

IMAGES = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (5, 3, 9, 7), dtype=np.uint8))
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.1)


@pytest.mark.parametrize("padding", [0, 1, 4])
def test_crop_and_flip_equal_torchvision_image_by_image(padding: int) -> None:
    rng = np.random.default_rng(1)
    crop = torch.from_numpy(rng.integers(0, 2 * padding + 1, (5, 2)))
    flip = torch.tensor([True, False, True, True, False])
    got = Pixel(padding, MEAN, STD)(IMAGES, crop, flip)
    normalise = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)])
    for image, (top, left), turned, ours in zip(IMAGES, crop.tolist(), flip.tolist(), got, strict=True):
        expected = F.crop(F.pad(image, [padding] * 4), top, left, 9, 7)
        expected = F.horizontal_flip(expected) if turned else expected
        torch.testing.assert_close(ours, normalise(expected), rtol=1e-6, atol=1e-5)


def test_without_draws_the_image_is_only_normalised() -> None:
    got = Pixel(4, MEAN, STD)(IMAGES)
    expected = (IMAGES.double() / 255 - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)
    torch.testing.assert_close(got.double(), expected, rtol=1e-5, atol=1e-5)


def test_the_centre_crop_without_flip_is_the_identity() -> None:
    crop, flip = torch.full((5, 2), 4), torch.zeros(5, dtype=torch.bool)
    assert torch.equal(Pixel(4, MEAN, STD).crop_and_flip(IMAGES, crop, flip), IMAGES)


def test_the_step_is_one_graph() -> None:
    pixel = torch.compile(Pixel(4, MEAN, STD), fullgraph=True, backend="eager")
    crop, flip = torch.full((5, 2), 1), torch.ones(5, dtype=torch.bool)
    torch.testing.assert_close(pixel(IMAGES, crop, flip), Pixel(4, MEAN, STD)(IMAGES, crop, flip))
