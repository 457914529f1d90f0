"""The loader benchmark measures every way on the same images; how fast they are is not a test's business."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.loader import Options, main
from benchmarks.loader_paths import MEAN, STD, FlipAndNormalise, Shape
from benchmarks.photos import write_photos
from tailwise.augment.pixel import Pixel


@pytest.mark.parametrize("workers", [0, 1])
def test_every_way_shows_as_many_images(tmp_path: Path, capsys: pytest.CaptureFixture[str], workers: int) -> None:
    page = tmp_path / "table.md"
    main(Options(images=24, side=80, size=32, batch=8, pack_size=40, workers=workers, repeats=2, markdown=page))
    assert "24 photographs of 80 x 60 pixels" in capsys.readouterr().out
    lines = [line for line in page.read_text().splitlines() if line.startswith("|")]
    rows = [[field.strip() for field in line.strip("|").split("|")] for line in lines[2:]]
    assert [row[:4] for row in rows] == [
        ["torchvision (ImageFolder, PIL)", "none", str(workers), "24"],
        ["host path", "none", str(workers), "24"],
        ["host path, up to the device", "none", str(workers), "24"],
        ["image pack", "none", str(workers), "24"],
        ["image pack, up to the device", "none", str(workers), "24"],
        ["torchvision (ImageFolder, PIL)", "0.4", str(workers), "24"],
        ["host path", "0.4", str(workers), "24"],
    ]
    for row in rows:
        seconds, speed, ratio = (float(field.replace(",", "")) for field in row[4:])
        assert speed == pytest.approx(24 / seconds, rel=0.5, abs=1)
        assert ratio > 0
    assert rows[0][-1] == rows[5][-1] == "1.00"
    assert "Pillow" in page.read_text()


def test_photographs_depend_on_the_seed_alone_and_have_the_weight_of_real_ones(tmp_path: Path) -> None:
    mean = write_photos(tmp_path / "a", 8, num_classes=2)
    assert 40_000 < mean < 60_000
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.jpg"))
    assert len(files) == 8 + 2
    assert {Image.open(tmp_path / "a" / name).size for name in files} == {(500, 375), (375, 500)}
    write_photos(tmp_path / "b", 8, num_classes=2)
    write_photos(tmp_path / "c", 8, num_classes=2, seed=1)
    contents = {folder: [(tmp_path / folder / name).read_bytes() for name in files] for folder in "abc"}
    assert contents["a"] == contents["b"]
    assert not set(contents["a"]) & set(contents["c"])


def test_the_work_counted_for_the_device_is_the_library_s() -> None:
    generator = np.random.default_rng(0)
    images = torch.from_numpy(generator.integers(0, 256, (5, 24, 24, 3), dtype=np.uint8)).permute(0, 3, 1, 2)
    flip = torch.tensor([True, False, True, True, False])
    expected = Pixel(0, MEAN, STD)(images, torch.zeros(5, 2, dtype=torch.int64), flip)
    assert torch.equal(FlipAndNormalise(Shape(size=24, batch=5, workers=0, seed=0))(images, flip), expected)
