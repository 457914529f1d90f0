"""Random resized crops and colour jitter of the host path, image by image."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps
from scipy.stats import ks_2samp
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms import functional as classic
from torchvision.transforms.v2 import functional as v2

from tailwise.augment.color_jitter import color_jitter
from tailwise.data import Pool, UnreadableImage
from tailwise.data.images import OpenedArray, open_image
from tailwise.data.rgb import Box, OpenedFile
from tailwise.data.transforms import ItemTransform, draw_box, jitter
from tests.unit.data.conftest import noise, pool_of


def smooth(width: int, height: int, seed: int = 0) -> Image.Image:
    """A picture that JPEG and scaling hardly change."""
    return noise(6, 6, seed).resize((width, height), Image.Resampling.BICUBIC)


class Whole:
    """An image that remembers which part of it was wanted."""

    def __init__(self, width: int, height: int) -> None:
        self.size, self.wanted = (width, height), list[tuple[Box, int]]()

    def cut(self, box: Box, at_least: int) -> np.ndarray:
        self.wanted.append((box, at_least))
        return np.zeros((box[2], box[3], 3), np.uint8)


@given(st.integers(1, 900), st.integers(1, 900), st.integers(0, 2**62))
def test_a_box_lies_inside_its_image(width: int, height: int, seed: int) -> None:
    top, left, tall, wide = draw_box(width, height, np.random.default_rng(seed))
    assert 0 <= top <= height - tall < height
    assert 0 <= left <= width - wide < width


@pytest.mark.parametrize("size", [(500, 375), (375, 500), (64, 64), (300, 90)])
def test_boxes_are_distributed_as_torchvision_s(size: tuple[int, int]) -> None:
    width, height = size
    generator = np.random.default_rng(0)
    ours = np.array([draw_box(width, height, generator) for _ in range(4000)])
    blank = torch.empty(3, height, width)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        theirs = np.array([RandomResizedCrop.get_params(blank, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(4000)])

    def facts(boxes: np.ndarray) -> Iterator[np.ndarray]:
        top, left, tall, wide = boxes.T
        yield from (top, left, tall, wide, tall * wide, wide / tall)

    for name, mine, other in zip(
        ("top", "left", "height", "width", "area", "ratio"), facts(ours), facts(theirs), strict=True
    ):
        assert ks_2samp(mine, other).pvalue > 0.001, name
        assert mine.mean() == pytest.approx(other.mean(), abs=4 * other.std() / 4000**0.5 * 2**0.5 + 1e-9), name


@pytest.mark.parametrize(("size", "box"), [((90, 10), (0, 38, 10, 13)), ((10, 90), (38, 0, 13, 10))])
def test_an_image_that_no_box_fits_gives_its_centre(size: tuple[int, int], box: Box) -> None:
    blank = torch.empty(3, size[1], size[0])
    # A box of the whole height would be too wide, and all boxes cover at least the whole image.
    assert RandomResizedCrop.get_params(blank, [2.0, 2.0], [3 / 4, 4 / 3]) == box
    boxes = [draw_box(*size, np.random.default_rng(seed)) for seed in range(300)]
    assert box in boxes


def test_the_box_is_cut_out_and_scaled_as_torchvision_does_it(tmp_path: Path) -> None:
    noise(90, 70).save(tmp_path / "a.png")
    for seed in range(20):
        asked = Whole(90, 70)
        ItemTransform(24)(asked, seed)
        (((top, left, tall, wide), at_least),) = asked.wanted
        assert at_least == 24
        found = ItemTransform(24)(OpenedFile(tmp_path / "a.png", "a.png"), seed)
        pixels = v2.pil_to_tensor(noise(90, 70))
        assert torch.equal(found, v2.resized_crop(pixels, top, left, tall, wide, [24, 24], antialias=True))
        picture = classic.resized_crop(noise(90, 70), top, left, tall, wide, [24, 24])
        assert (found.int() - v2.pil_to_tensor(picture).int()).abs().max() <= 2


def test_the_result_depends_on_image_and_seed_alone(tmp_path: Path) -> None:
    noise(64, 48).save(tmp_path / "a.jpg")
    transform = ItemTransform(16, 0.4)

    def shown(seed: int) -> torch.Tensor:
        return transform(OpenedFile(tmp_path / "a.jpg", "a.jpg"), seed)

    threads = torch.get_num_threads()
    expected = shown(5)
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            torch.manual_seed(count)
            np.random.seed(count)
            assert torch.equal(shown(5), expected)
    finally:
        torch.set_num_threads(threads)
    assert not torch.equal(shown(6), expected)


def test_torch_s_generator_is_left_alone(tmp_path: Path) -> None:
    noise(64, 48).save(tmp_path / "a.png")
    before = torch.get_rng_state()
    ItemTransform(16, 0.4)(OpenedFile(tmp_path / "a.png", "a.png"), 1)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_large_jpeg_is_decoded_smaller_only_where_the_box_keeps_enough_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    smooth(801, 603).save(tmp_path / "a.jpg", quality=95)
    full = v2.pil_to_tensor(smooth(801, 603))
    shrinks: list[int] = []
    original = OpenedFile.picture

    def remember(file: OpenedFile, shrink: int = 1) -> Image.Image:
        shrinks.append(shrink)
        return original(file, shrink)

    monkeypatch.setattr(OpenedFile, "picture", remember)
    seen: set[int] = set()
    for seed in range(40):
        top, left, tall, wide = draw_box(801, 603, np.random.default_rng(seed))
        shrinks.clear()
        part = OpenedFile(tmp_path / "a.jpg", "a.jpg").cut((top, left, tall, wide), 64)
        shrink = shrinks[0] if shrinks else 1
        seen.add(shrink)
        assert min(tall, wide) // shrink >= 64 or shrink == 1
        assert min(tall, wide) // (2 * shrink) < 64 or shrink == 8
        assert abs(part.shape[0] - tall / shrink) < 1
        assert abs(part.shape[1] - wide / shrink) < 1
        assert min(part.shape[:2]) >= 64
        found = ItemTransform(64)(OpenedFile(tmp_path / "a.jpg", "a.jpg"), seed)
        top, left, bottom, right = (round(c / shrink + 1e-9) * shrink for c in (top, left, top + tall, left + wide))
        expected = v2.resized_crop(full, top, left, bottom - top, right - left, [64, 64], antialias=True)
        assert (found.int() - expected.int())[:, :-1, :-1].abs().max() <= 12
        assert (found.int() - expected.int()).abs().float().mean() < 1.2
    assert seen == {2, 4, 8}


def test_a_jpeg_that_a_camera_turned_is_cut_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    for orientation in range(1, 9):
        exif[0x0112] = orientation
        smooth(60, 40).save(tmp_path / f"{orientation}.jpg", exif=exif)
        upright = ImageOps.exif_transpose(Image.open(tmp_path / f"{orientation}.jpg"))
        file = OpenedFile(tmp_path / f"{orientation}.jpg", "a")
        assert file.size == upright.size == ((60, 40) if orientation < 5 else (40, 60))
        np.testing.assert_array_equal(file.cut((3, 5, 20, 30), 60), np.asarray(upright)[3:23, 5:35])


def test_a_turned_jpeg_is_decoded_smaller_too(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    smooth(640, 320).save(tmp_path / "a.jpg", exif=exif, quality=95)
    upright = ImageOps.exif_transpose(Image.open(tmp_path / "a.jpg"))
    part = OpenedFile(tmp_path / "a.jpg", "a").cut((160, 80, 320, 160), 40)
    assert part.shape == (80, 40, 3)
    whole = np.asarray(upright.resize((80, 160), Image.Resampling.BOX)).astype(int)
    assert np.abs(part - whole[40:120, 20:60]).mean() < 2


def test_grey_and_rgb_images_in_memory_are_cut_as_files_are(tmp_path: Path) -> None:
    colour = np.asarray(noise(40, 30))
    for name, array in (("rgb", colour), ("grey", colour[:, :, 0].copy())):
        Image.fromarray(array).save(tmp_path / f"{name}.png")
        array.flags.writeable = False
        pool = Pool(name, "train", ("a",), np.zeros(1, np.int64), array=array[None])
        opened = open_image(pool, 0)
        assert isinstance(opened, OpenedArray)
        assert opened.size == (40, 30)
        for seed in range(5):
            there = open_image(pool_of(tmp_path, f"{name}.png"), 0)
            assert torch.equal(ItemTransform(12, 0.4)(opened, seed), ItemTransform(12, 0.4)(there, seed))


def test_jitter_is_that_of_the_device_rounded() -> None:
    generator = np.random.default_rng(0)
    image = np.asarray(noise(20, 15)).transpose(2, 0, 1)
    for order in ([0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]):
        factor, turns = generator.uniform(0, 2, 3).astype(np.float32), np.array(order)
        batch = torch.from_numpy(image.astype(np.float32))[None]
        expected = color_jitter(batch, torch.from_numpy(factor)[None], torch.from_numpy(turns)[None])[0]
        found = jitter(image, factor, turns)
        assert found.dtype == np.uint8
        assert np.abs(found - expected.numpy()).max() <= 0.501


def test_jitter_is_close_to_torchvision_s_on_pictures() -> None:
    picture = smooth(40, 30)
    steps = (classic.adjust_brightness, classic.adjust_contrast, classic.adjust_saturation)
    for seed in range(12):
        generator = np.random.default_rng(seed)
        factor, order = generator.uniform(0.6, 1.4, 3).astype(np.float32), generator.permutation(3)
        expected = picture
        for change in order:
            expected = steps[change](expected, float(factor[change]))
        found = jitter(np.asarray(picture).transpose(2, 0, 1), factor, order)
        # Pillow rounds down after each of the three.
        assert np.abs(found.transpose(1, 2, 0).astype(int) - np.asarray(expected)).max() <= 4


def test_jitter_changes_colours_after_the_same_crop(tmp_path: Path) -> None:
    noise(64, 48).save(tmp_path / "a.png")
    file = OpenedFile(tmp_path / "a.png", "a.png")
    plain, changed = ItemTransform(16)(file, 3), ItemTransform(16, 0.4)(file, 3)
    assert changed.shape == plain.shape == (3, 16, 16)
    assert np.corrcoef(plain.flatten(), changed.flatten())[0, 1] > 0.7
    assert not torch.equal(plain, changed)


def test_damage_is_noticed_when_the_image_is_cut(tmp_path: Path) -> None:
    noise(64, 64).save(tmp_path / "a.jpg")
    content = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(content[: len(content) // 2])
    with pytest.raises(UnreadableImage, match=r"^pictures/a: cannot be read as an image: image file is truncated"):
        ItemTransform(8)(OpenedFile(tmp_path / "a.jpg", "pictures/a"), 0)
