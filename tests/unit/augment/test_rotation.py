"""Quarter turns: exact, labelled by their number, and the same before and after normalisation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tailwise.augment.pixel import Pixel
from tailwise.augment.rotation import Rotation, four_turns, turned
from tailwise.core.errors import TailwiseError
from tailwise.core.types import MixedTarget

IMAGES = torch.randint(0, 256, (12, 3, 7, 7), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
TURNS = torch.arange(12) % 4


@pytest.mark.parametrize("size", [1, 2, 7])
def test_turns_are_numpys(size: int) -> None:
    images = IMAGES[:, :, :size, :size]
    expected = [np.rot90(image, int(k), axes=(1, 2)) for image, k in zip(images.numpy(), TURNS, strict=True)]
    np.testing.assert_array_equal(turned(images, TURNS).numpy(), np.stack(expected))


def test_a_quarter_turn_of_a_written_image() -> None:
    image = torch.tensor([[1, 2], [3, 4]]).view(1, 1, 2, 2)
    found = [turned(image, torch.tensor([k])).flatten().tolist() for k in range(4)]
    assert found == [[1, 2, 3, 4], [2, 4, 1, 3], [4, 3, 2, 1], [3, 1, 4, 2]]


def test_turning_before_or_after_normalisation_is_the_same() -> None:
    pixel = Pixel(0, (0.1, 0.5, 0.9), (0.2, 0.3, 0.4))
    assert torch.equal(turned(pixel(IMAGES), TURNS), pixel(turned(IMAGES, TURNS)))


def test_the_label_is_the_turn_and_all_turns_are_drawn() -> None:
    draws = Rotation().draw(np.random.default_rng(0), 50, 40)["turns"]
    assert draws.shape == (50, 40)
    assert np.bincount(draws.reshape(-1), minlength=4).min() > 400
    image, label = Rotation()(IMAGES, {"turns": TURNS})
    assert torch.equal(label, TURNS)
    assert torch.equal(image, turned(IMAGES, TURNS))


def test_four_turns_keep_the_target() -> None:
    label = torch.arange(12)
    images, target = four_turns(IMAGES, label)
    assert isinstance(target, torch.Tensor)
    for k in range(4):
        assert torch.equal(images[12 * k : 12 * k + 12], torch.rot90(IMAGES, k, (2, 3)))
        assert torch.equal(target[12 * k : 12 * k + 12], label)
    _, mixed = four_turns(IMAGES, MixedTarget(label, label.flip(0), torch.rand(12)))
    assert isinstance(mixed, MixedTarget)
    assert [len(part) for part in mixed] == [48, 48, 48]


def test_messages() -> None:
    with pytest.raises(TailwiseError) as error:
        Rotation()(torch.zeros(2, 3, 6, 4), {"turns": torch.zeros(2, dtype=torch.int64)})
    assert str(error.value) == (
        "quarter turns need square images, and these have 6 x 4 pixels; crop them to 4 x 4 first"
    )
    with pytest.raises(ValueError, match="forward must be second or joint, got 'third'"):
        Rotation(forward="third")  # type: ignore[arg-type]
