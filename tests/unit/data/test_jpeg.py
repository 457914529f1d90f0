"""The fast way through JPEG files sees what Pillow sees."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tailwise.data import UnreadableImage, find_unreadable, jpeg, rgb
from tailwise.data.jpeg import fast_jpeg, plain_size
from tailwise.data.rgb import OpenedFile
from tailwise.data.transforms import ItemTransform
from tests.unit.data.conftest import noise, pool_of

KINDS: dict[str, dict[str, Any]] = {
    "baseline": {},
    "progressive": {"progressive": True},
    "4:4:4": {"subsampling": 0},
    "4:2:2": {"subsampling": 1},
    "4:2:0": {"subsampling": 2},
    "stored as RGB": {"keep_rgb": True},
    "restarts": {"restart_marker_rows": 1},
    "comment": {"comment": b"a comment"},
    "colour profile": {"icc_profile": b"profile" * 9000},
}


def encoded(image: Image.Image, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80, **options)
    return buffer.getvalue()


def by_pillow(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_size_and_pixels_are_pillow_s(kind: str, mode: str) -> None:
    data = encoded(noise(51, 38).convert(mode), **({} if mode == "L" and kind == "stored as RGB" else KINDS[kind]))
    assert plain_size(data) == (51, 38)
    found = fast_jpeg(data)
    assert found is not None
    np.testing.assert_array_equal(found, by_pillow(data))


def test_headers_that_are_not_plain_are_left_to_pillow() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    plain = encoded(noise(16, 16))
    for data in (
        encoded(noise(16, 16), exif=exif),
        encoded(noise(16, 16).convert("CMYK")),
        b"",
        b"\xff",
        b"\xff\xd8",
        b"\x89PNG\r\n\x1a\n" + plain,
        plain[:2] + b"\0" + plain[2:],
        *(plain[:cut] for cut in range(0, plain.index(b"\xff\xc0") + 9)),
    ):
        assert plain_size(data) is None
    at = plain.index(b"\xff\xc0")
    assert plain_size(plain[: at + 4] + b"\x0c" + plain[at + 5 :]) is None, "12 bits"
    assert plain_size(plain[: at + 5] + b"\0\0" + plain[at + 7 :]) is None, "height given later"


def test_a_camera_s_file_that_is_not_turned_takes_the_fast_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    (tmp_path / "a.jpg").write_bytes(encoded(noise(20, 16), exif=exif))
    calls: list[bytes] = []
    monkeypatch.setattr(rgb, "fast_jpeg", lambda data: calls.append(data) or fast_jpeg(data))
    file = OpenedFile(tmp_path / "a.jpg", "a.jpg")
    assert file.size == (20, 16)
    np.testing.assert_array_equal(file.cut((0, 0, 16, 20), 16), by_pillow(calls[0]))


@pytest.mark.parametrize("name", ["rgb.jpg", "grey.jpg", "cmyk.jpg", "palette.png", "turned.jpg"])
def test_results_are_the_same_where_torchvision_has_no_decoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    modes = {"grey.jpg": "L", "cmyk.jpg": "CMYK", "palette.png": "P"}
    exif = Image.Exif()
    exif[0x0112] = 8
    options = {"exif": exif} if name == "turned.jpg" else {}
    noise(90, 70).convert(modes.get(name, "RGB")).save(tmp_path / name, **options)
    found = [ItemTransform(24, 0.2)(OpenedFile(tmp_path / name, name), seed) for seed in range(6)]
    monkeypatch.setattr(jpeg, "_decoder", lambda: None)
    for seed, expected in enumerate(found):
        assert torch.equal(ItemTransform(24, 0.2)(OpenedFile(tmp_path / name, name), seed), expected)


def test_more_pixels_than_pillow_thinks_safe_are_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.jpg").write_bytes(encoded(noise(40, 40)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    with pytest.raises(UnreadableImage, match="decompression bomb"):
        OpenedFile(tmp_path / "a.jpg", "a.jpg")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert OpenedFile(tmp_path / "a.jpg", "a.jpg").size == (40, 40)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}], ids=str)
def test_the_quick_check_finds_what_complete_decoding_finds(tmp_path: Path, options: dict[str, Any]) -> None:
    data = encoded(noise(61, 45), **options)
    generator = np.random.default_rng(0)
    damaged = [data[: round(share * len(data))] for share in np.linspace(0.01, 1, 60)]
    damaged += [data[: len(data) - cut] for cut in (1, 2, 3, 5, 20)]
    for _ in range(150):
        changed = bytearray(data)
        for at in generator.integers(2, len(data), 3):
            changed[at] = generator.integers(256)
        damaged.append(bytes(changed))
    names = [f"{number}.jpg" for number in range(len(damaged))]
    for name, content in zip(names, damaged, strict=True):
        (tmp_path / name).write_bytes(content)
    pool = pool_of(tmp_path, *names)
    found = find_unreadable(pool, np.arange(len(names)), 1)
    expected: dict[int, str] = {}
    for position in range(len(names)):
        try:
            pool.read(position)
        except UnreadableImage as error:
            expected[position] = error.reason
    assert found.keys() == expected.keys()
    assert 50 < len(found) < len(names) - 50
    for position in set(range(len(names))) - found.keys():
        # What the check lets through can be trained on.
        file = OpenedFile(tmp_path / names[position], names[position])
        assert ItemTransform(8)(file, position).shape == (3, 8, 8)
