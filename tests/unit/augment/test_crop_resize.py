from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from tailwise.augment.crop_resize import crop_resize, draw_boxes, pixel_centres

SHAPES = [(9, 14), (23, 11), (40, 40), (1, 6), (17, 5)]


def packed(shapes: list[tuple[int, int]]) -> tuple[list[torch.Tensor], torch.Tensor, torch.Tensor, torch.Tensor]:
    """Images [3,H,W], and the same pixels flat with where each begins and how wide it is."""
    rng = np.random.default_rng(0)
    images = [torch.from_numpy(rng.integers(0, 256, (3, *shape), dtype=np.uint8)) for shape in shapes]
    flat = torch.cat([image.permute(1, 2, 0).reshape(-1, 3) for image in images])
    counts = torch.tensor([height * width for height, width in shapes])
    return images, flat, counts.cumsum(0) - counts, torch.tensor([width for _, width in shapes])


def boxes_of(shapes: list[tuple[int, int]], seed: int) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    rows = []
    for height, width in shapes:
        tall, wide = int(rng.integers(1, height + 1)), int(rng.integers(1, width + 1))
        rows.append([int(rng.integers(0, height - tall + 1)), int(rng.integers(0, width - wide + 1)), tall, wide])
    return torch.tensor(rows)


@pytest.mark.parametrize("size", [1, 7, 8, 33])
@pytest.mark.parametrize("seed", range(4))
def test_equals_torchvision_s_resized_crop_without_antialiasing(size: int, seed: int) -> None:
    images, flat, offset, width = packed(SHAPES)
    box = boxes_of(SHAPES, seed)
    flip = torch.tensor([True, False, True, False, True])
    got = crop_resize(flat, offset, width, box, flip, pixel_centres(size, flat.device))
    assert got.shape == (5, 3, size, size)
    for image, place, mirrored, ours in zip(images, box.tolist(), flip.tolist(), got, strict=True):
        exact = F.resized_crop(image.float(), *place, size=[size, size], antialias=False)
        rounded = F.resized_crop(image, *place, size=[size, size], antialias=False)
        if mirrored:
            exact, rounded = F.horizontal_flip(exact), F.horizontal_flip(rounded)
        torch.testing.assert_close(ours, exact, rtol=1e-5, atol=2e-3)
        assert (ours.round() - rounded).abs().max() <= 1


def test_a_box_of_the_size_of_the_result_is_copied() -> None:
    images, flat, offset, width = packed([(8, 12), (12, 8)])
    box = torch.tensor([[0, 3, 8, 8], [2, 0, 8, 8]])
    got = crop_resize(flat, offset, width, box, torch.zeros(2, dtype=torch.bool), pixel_centres(8, flat.device))
    assert torch.equal(got[0], images[0][:, :, 3:11].float())
    assert torch.equal(got[1], images[1][:, 2:10].float())


def test_pixels_outside_the_box_have_no_influence() -> None:
    _, flat, offset, width = packed([(20, 20)])
    box, grid = torch.tensor([[5, 6, 7, 8]]), pixel_centres(16, flat.device)
    flip = torch.zeros(1, dtype=torch.bool)
    first = crop_resize(flat, offset, width, box, flip, grid)
    inside = torch.zeros(20, 20, dtype=torch.bool)
    inside[5:12, 6:14] = True
    changed = torch.where(inside.reshape(-1, 1), flat, 255 - flat)
    assert torch.equal(crop_resize(changed, offset, width, box, flip, grid), first)


def test_offsets_beyond_32_bits_are_possible() -> None:
    # 2**31 pixels are not allocated here: a negative offset that a box makes up for reaches the same pixel.
    _, flat, _, _ = packed([(4, 4)])
    far = 2**40
    box = torch.tensor([[far, 0, 4, 4]])
    got = crop_resize(
        flat,
        torch.tensor([-4 * far]),
        torch.tensor([4]),
        box,
        torch.zeros(1, dtype=torch.bool),
        pixel_centres(4, flat.device),
    )
    assert torch.equal(got[0].permute(1, 2, 0).reshape(-1, 3), flat.float())


def test_the_crop_is_one_graph() -> None:
    _, flat, offset, width = packed(SHAPES)
    arguments = (
        flat,
        offset,
        width,
        boxes_of(SHAPES, 0),
        torch.ones(5, dtype=torch.bool),
        pixel_centres(8, flat.device),
    )
    compiled = torch.compile(crop_resize, fullgraph=True, backend="eager")
    assert torch.equal(compiled(*arguments), crop_resize(*arguments))


@settings(max_examples=30)
@given(st.integers(1, 400), st.integers(1, 400), st.integers(0, 2**31))
def test_boxes_lie_inside_their_images(height: int, width: int, seed: int) -> None:
    box = draw_boxes(np.full((50, 2), (height, width)), np.random.default_rng(seed))
    assert box.min() >= 0
    assert box[:, 2:].min() >= 1 or min(height, width) == 1
    assert (box[:, 0] + box[:, 2]).max() <= height
    assert (box[:, 1] + box[:, 3]).max() <= width


def test_boxes_are_distributed_as_torchvision_s() -> None:
    height, width, n = 256, 341, 20_000
    box = draw_boxes(np.full((n, 2), (height, width)), np.random.default_rng(0)).astype(np.float64)
    transform = v2.RandomResizedCrop(224)
    image = torch.empty(3, height, width)
    torch.manual_seed(0)
    rows = [transform.make_params([image]) for _ in range(n)]
    theirs = np.array([[row["top"], row["left"], row["height"], row["width"]] for row in rows], dtype=np.float64)

    def features(boxes: np.ndarray) -> np.ndarray:
        top, left, tall, wide = boxes.T
        return np.stack([tall * wide / (height * width), np.log(wide / tall), top, left, tall == height, wide == width])

    ours, expected = features(box), features(theirs)
    for name, left, right in zip(
        ("area", "ratio", "top", "left", "full height", "full width"), ours, expected, strict=True
    ):
        error = math.sqrt((left.var() + right.var()) / n)
        assert abs(left.mean() - right.mean()) < 4 * error + 1e-12, name
        quantiles = np.linspace(0.05, 0.95, 10)
        spread = max(1e-9, float(right.std()))
        assert np.abs(np.quantile(left, quantiles) - np.quantile(right, quantiles)).max() < 0.1 * spread, name


def test_an_image_that_no_box_fits_gives_its_centre() -> None:
    sizes = np.array([[10, 1000], [1000, 10], [1, 1]])
    box = draw_boxes(np.broadcast_to(sizes, (40, 3, 2)), np.random.default_rng(3))
    # Ten boxes of 8 % of the area and more never fit into an image of 1 to 100; the widest allowed has ratio 4/3.
    assert (box[:, 0] == [0, (1000 - 13) // 2, 10, 13]).all()
    assert (box[:, 1] == [(1000 - 13) // 2, 0, 13, 10]).all()
    assert (box[:, 2] == [0, 0, 1, 1]).all()


def test_the_draws_do_not_depend_on_the_sizes() -> None:
    states = []
    for size in ((10, 1000), (300, 300)):
        generator = np.random.default_rng(7)
        draw_boxes(np.full((5, 2), size), generator)
        states.append(generator.random())
    assert states[0] == states[1]
