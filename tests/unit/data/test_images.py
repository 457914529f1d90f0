"""Decoding of every kind of image file, and a reason for each that cannot be decoded."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from torchvision.transforms import v2

from tailwise.core.errors import DataError
from tailwise.data import Pool, UnreadableImage, decode, decode_many, find_unreadable, synthetic_pool
from tailwise.data.images import sample_sizes
from tests.unit.data.conftest import noise, pool_of


def pixels(root: Path, name: str, size: int) -> NDArray[np.uint8]:
    return decode(pool_of(root, name), 0, size)


def test_rgb_png_of_the_right_size_is_unchanged(tmp_path: Path) -> None:
    image = noise(9, 9)
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(pixels(tmp_path, "a.png", 9), np.asarray(image).transpose(2, 0, 1))


def test_result_is_a_writable_contiguous_array_even_of_one_pixel(tmp_path: Path) -> None:
    Image.new("RGB", (1, 1), (1, 2, 3)).save(tmp_path / "a.png")
    for size in (1, 4):
        array = pixels(tmp_path, "a.png", size)
        assert array.flags.writeable
        assert array.flags.c_contiguous
        assert (array == np.array([1, 2, 3])[:, None, None]).all()


def test_longer_side_is_cropped_at_its_centre(tmp_path: Path) -> None:
    image = noise(13, 6)
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(pixels(tmp_path, "a.png", 6), np.asarray(image)[:, 3:9].transpose(2, 0, 1))


def test_shrinking_is_antialiased(tmp_path: Path) -> None:
    stripes = np.zeros((64, 64, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    Image.fromarray(stripes).save(tmp_path / "a.png")
    assert np.ptp(pixels(tmp_path, "a.png", 8)[:, :, 1:-1]) <= 2
    assert abs(float(pixels(tmp_path, "a.png", 8).mean()) - 127.5) < 3


def test_centre_square_matches_resize_then_crop(tmp_path: Path) -> None:
    ramp = np.linspace(0, 255, 90 * 60).reshape(60, 90).astype(np.uint8)
    Image.fromarray(ramp).save(tmp_path / "a.png")
    resized = Image.fromarray(ramp).convert("RGB").resize((30, 20), Image.Resampling.BILINEAR)
    expected = np.asarray(resized)[:, 5:25].transpose(2, 0, 1).astype(int)
    assert np.abs(pixels(tmp_path, "a.png", 20).astype(int) - expected).max() <= 1


def test_large_jpeg_decodes_to_nearly_the_same_small_image_as_in_full(tmp_path: Path) -> None:
    smooth = noise(8, 8).resize((640, 640), Image.Resampling.BICUBIC)
    smooth.save(tmp_path / "a.jpg", quality=95)
    full = Image.open(tmp_path / "a.jpg").resize((32, 32), Image.Resampling.BILINEAR)
    difference = pixels(tmp_path, "a.jpg", 32).astype(int) - np.asarray(full).transpose(2, 0, 1)
    assert np.abs(difference).max() <= 6


def test_grey_palette_and_bilevel_images_become_rgb(tmp_path: Path) -> None:
    grey = noise(8, 8).convert("L")
    for name, image in (("l", grey), ("p", grey.convert("P")), ("1", grey.convert("1")), ("rgb", noise(8, 8))):
        image.save(tmp_path / f"{name}.png")
        expected = np.asarray(image.convert("RGB")).transpose(2, 0, 1)
        np.testing.assert_array_equal(pixels(tmp_path, f"{name}.png", 8), expected)


def test_transparent_pixels_show_mid_grey(tmp_path: Path) -> None:
    image = Image.new("RGBA", (2, 2), (250, 10, 10, 0))
    image.putpixel((0, 0), (250, 10, 10, 255))
    image.save(tmp_path / "rgba.png")
    found = pixels(tmp_path, "rgba.png", 2)
    assert found[:, 0, 0].tolist() == [250, 10, 10]
    assert found[:, 1, 1].tolist() == [128, 128, 128]
    palette = Image.new("P", (2, 1), 1)
    palette.putpalette([200, 0, 0, 0, 200, 0])
    palette.putpixel((0, 0), 0)
    palette.save(tmp_path / "p.png", transparency=1)
    assert np.asarray(pool_of(tmp_path, "p.png").read(0)).tolist() == [[[200, 0, 0], [128, 128, 128]]]
    Image.new("LA", (2, 2), (9, 0)).save(tmp_path / "la.png")
    assert pixels(tmp_path, "la.png", 2)[:, 0, 0].tolist() == [128, 128, 128]


def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path: Path) -> None:
    values = np.array([[0, 257], [32896, 65535]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    Image.fromarray(values).save(tmp_path / "a.tif")
    for name in ("a.png", "a.tif"):
        assert pixels(tmp_path, name, 2)[0].tolist() == [[0, 1], [128, 255]]


@pytest.mark.parametrize(
    ("values", "expected"), [([0.0, 0.5, 1.0], [0, 128, 255]), ([0.0, 100.0, 300.0], [0, 100, 255])]
)
def test_floating_point_images_are_read_by_their_range(
    tmp_path: Path, values: list[float], expected: list[int]
) -> None:
    Image.fromarray(np.array([values] * 3, dtype=np.float32)).save(tmp_path / "a.tiff")
    assert pixels(tmp_path, "a.tiff", 3)[0, 0].tolist() == expected


def test_cmyk_jpeg_and_webp_and_gif_keep_their_colour(tmp_path: Path) -> None:
    red = Image.new("RGB", (16, 16), (200, 30, 40))
    red.convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    red.save(tmp_path / "a.webp", lossless=True)
    red.save(tmp_path / "a.gif")
    red.save(tmp_path / "a.bmp")
    for name in ("a.jpg", "a.webp", "a.gif", "a.bmp"):
        colour = pixels(tmp_path, name, 16)[:, 8, 8].astype(int)
        assert np.abs(colour - [200, 30, 40]).max() <= 8, name


def test_exif_rotation_is_undone(tmp_path: Path) -> None:
    upright = Image.new("RGB", (40, 20), (0, 0, 0))
    upright.paste((255, 255, 255), (0, 0, 20, 20))
    exif = Image.Exif()
    exif[0x0112] = 6
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "a.jpg", exif=exif, quality=95)
    pool = pool_of(tmp_path, "a.jpg")
    assert pool.read(0).size == pool.size_of(0) == (40, 20)
    row = np.asarray(pool.read(0))[10, :, 0]
    assert row[5] > 240
    assert row[35] < 15


@pytest.mark.parametrize("shape", [(3000, 1), (1, 3000), (5, 4999)])
def test_extreme_aspect_is_decoded_without_a_huge_intermediate(tmp_path: Path, shape: tuple[int, int]) -> None:
    Image.new("RGB", shape, (7, 8, 9)).save(tmp_path / "a.png")
    found = pixels(tmp_path, "a.png", 224)
    assert found.shape == (3, 224, 224)
    assert found[:, 100, 100].tolist() == [7, 8, 9]


def _truncated(format: str) -> bytes:
    buffer = io.BytesIO()
    noise(64, 64).save(buffer, format)
    return buffer.getvalue()[: len(buffer.getvalue()) // 2]


BAD_FILES: dict[str, tuple[Callable[[], bytes], str]] = {
    "cut.jpg": (lambda: _truncated("JPEG"), "truncated"),
    "cut.png": (lambda: _truncated("PNG"), "truncated"),
    "cut.webp": (lambda: _truncated("WEBP"), "."),
    "text.jpg": (lambda: b"<html>404</html>", "not an image in any format"),
    "empty.jpg": (lambda: b"", "an empty file"),
}


@pytest.mark.parametrize("name", [*BAD_FILES, "gone.jpg", "folder.jpg"])
def test_bad_file_is_named_with_its_reason(tmp_path: Path, name: str) -> None:
    reasons = {"gone.jpg": "no such file", "folder.jpg": "a folder, not a file"}
    if name in BAD_FILES:
        (tmp_path / name).write_bytes(BAD_FILES[name][0]())
    elif name == "folder.jpg":
        (tmp_path / name).mkdir()
    with pytest.raises(UnreadableImage, match=reasons.get(name) or BAD_FILES[name][1]) as caught:
        pixels(tmp_path, name, 8)
    assert str(caught.value).startswith(f"{name}: cannot be read")
    assert str(tmp_path) not in caught.value.reason


def test_decompression_bomb_is_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noise(40, 40).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    with pytest.raises(UnreadableImage, match="decompression bomb"):
        pixels(tmp_path, "a.png", 8)


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_decode_many_keeps_order_and_reports_bad_files(tmp_path: Path, workers: int) -> None:
    names = [f"{number}.png" for number in range(6)]
    for number, name in enumerate(names):
        Image.new("RGB", (8, 8), (number * 10, 0, 0)).save(tmp_path / name)
    (tmp_path / "2.png").write_bytes(b"no")
    seen: list[tuple[int, int]] = []
    order = [5, 2, 0, 1]
    images, bad = decode_many(pool_of(tmp_path, *names), order, 4, workers, lambda *done: seen.append(done))
    assert images[:, 0, 0, 0].tolist() == [50, 0, 0, 10]
    assert bad == {2: "not an image in any format that Pillow knows"}
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.parametrize("grey", [True, False])
@pytest.mark.parametrize("size", [8, 5])
def test_images_in_memory_decode_like_single_ones(grey: bool, size: int) -> None:
    array = np.random.default_rng(0).integers(0, 256, (5, 8, 8) if grey else (5, 8, 8, 3), dtype=np.uint8)
    pool = Pool("x", "train", ("a",), np.zeros(5, dtype=np.int64), array=array)
    images, bad = decode_many(pool, [4, 1], size)
    assert bad == {}
    np.testing.assert_array_equal(images, np.stack([decode(pool, 4, size), decode(pool, 1, size)]))


def test_find_unreadable_lists_exactly_the_bad_files(tmp_path: Path) -> None:
    noise(8, 8).save(tmp_path / "good.jpg")
    for name, (content, _) in BAD_FILES.items():
        (tmp_path / name).write_bytes(content())
    pool = pool_of(tmp_path, "good.jpg", *BAD_FILES, "good.jpg")
    done: list[int] = []
    found = find_unreadable(pool, np.arange(len(pool)), 2, lambda now, total: done.append(total - now))
    assert sorted(found) == [1, 2, 3, 4, 5]
    assert done[-1] == 0


def test_sampled_sizes_are_upright_and_leave_out_what_cannot_be_read(tmp_path: Path) -> None:
    for name, size in (("a.png", (8, 6)), ("b.png", (8, 6)), ("c.png", (5, 9))):
        noise(*size).save(tmp_path / name)
    assert sorted(sample_sizes(pool_of(tmp_path, "a.png", "b.png", "c.png", "gone.png"))) == [(5, 9), (8, 6), (8, 6)]
    assert sample_sizes(pool_of(tmp_path, "gone.png")) == []
    assert set(sample_sizes(synthetic_pool(2, size=7).train)) == {(7, 7)}


def test_size_below_one_pixel_is_refused() -> None:
    with pytest.raises(DataError, match="got 0"):
        decode_many(synthetic_pool(2).train, [0], 0)


def test_the_evaluation_zoom_is_resize_and_centre_crop(tmp_path: Path) -> None:
    rows, columns = np.mgrid[0:128, 0:128]
    waves = [127 + 120 * np.sin(rows / 9), 127 + 120 * np.cos(columns / 7), rows + columns]
    Image.fromarray(np.stack(waves, axis=2).astype(np.uint8)).save(tmp_path / "a.png")
    pool = pool_of(tmp_path, "a.png")
    expected = v2.Compose([v2.PILToTensor(), v2.Resize(64, antialias=True), v2.CenterCrop(56)])(
        Image.open(tmp_path / "a.png")
    )
    got = decode(pool, 0, 56, zoom=64 / 56)
    assert np.abs(got.astype(int) - expected.numpy().astype(int)).max() <= 1
    assert not np.array_equal(got, decode(pool, 0, 56))
