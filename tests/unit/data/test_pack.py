from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tailwise.core.errors import DataError
from tailwise.data import pack_folder, pack_writer
from tailwise.data.images import Progress, decode
from tailwise.data.open import Splits, open_data
from tailwise.data.pack import open_pack
from tailwise.data.pack_format import RECORD, Header, Mode
from tailwise.data.pack_pixels import expected_bytes, packed_pixels
from tailwise.data.pack_verify import damaged_images
from tailwise.data.pack_writer import new_header, write_pack
from tailwise.data.pool import Pool
from tailwise.data.synthetic import synthetic_pool

COMMAND = "tailwise data pack images --size 16 --out pack"


@pytest.fixture
def splits(tmp_path: Path) -> Splits:
    """JPEG and PNG files of many shapes in two classes; two of them damaged."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 9), ("test", 3)):
        for label in ("a", "b"):
            (tmp_path / "images" / split / label).mkdir(parents=True)
            for number in range(count):
                shape = (int(rng.integers(10, 60)), int(rng.integers(10, 60)), 3)
                name = f"{number}.{'jpg' if number % 2 else 'png'}"
                picture = Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8))
                picture.save(tmp_path / "images" / split / label / name)
    (tmp_path / "images" / "train" / "b" / "4.png").write_text("no image")
    (tmp_path / "images" / "test" / "a" / "1.jpg").write_bytes(b"")
    return open_data("folder", location=tmp_path / "images")


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def header(splits: Splits, mode: Mode = "short", size: int = 16) -> Header:
    return new_header(splits, mode, size, COMMAND)


def test_a_square_pack_holds_what_decoding_gives(splits: Splits, tmp_path: Path) -> None:
    write_pack(tmp_path / "pack", splits, header(splits, "square"))
    pack = open_pack(tmp_path / "pack", splits)
    for images, pool in ((pack.train, splits.train), (pack.eval, splits.test)):
        for position in range(len(pool)):
            if position in images.unreadable:
                assert images.sizes[position].tolist() == [0, 0]
            else:
                assert np.array_equal(images.image(position).transpose(2, 0, 1), decode(pool, position, 16))


def test_a_short_pack_holds_whole_images_of_one_short_side(splits: Splits, tmp_path: Path) -> None:
    write_pack(tmp_path / "pack", splits, header(splits))
    pack = open_pack(tmp_path / "pack", splits)
    seen = set()
    for position in range(len(splits.train)):
        if position in pack.train.unreadable:
            continue
        image, whole = pack.train.image(position), splits.train.read(position)
        assert min(image.shape[:2]) == 16
        assert abs(image.shape[1] / image.shape[0] - whole.width / whole.height) < 0.5 / 16 * max(image.shape[:2]) / 16
        expected = np.asarray(whole.resize((image.shape[1], image.shape[0]), Image.Resampling.BILINEAR))
        assert np.array_equal(image, expected)
        seen.add(image.shape)
    assert len(seen) > 5


def test_images_of_the_size_already_stay_as_they_are() -> None:
    splits = synthetic_pool(size=12)
    assert splits.train.array is not None
    for mode in ("short", "square"):
        assert np.array_equal(packed_pixels(splits.train, 3, mode, 12), splits.train.array[3])


def test_of_a_long_thin_picture_the_middle_is_kept() -> None:
    ramp = np.repeat(np.arange(200, dtype=np.uint8)[None, :, None], 3, axis=2)
    pool = Pool("thin", "train", ("a", "b"), np.array([0]), array=np.ascontiguousarray(ramp[None].repeat(2, axis=1)))
    image = packed_pixels(pool, 0, "short", 2)
    assert image.shape == (2, 16, 3)
    assert image[0, :, 0].tolist() == list(range(92, 108))


def test_unreadable_images_are_recorded_with_their_reason(splits: Splits, tmp_path: Path) -> None:
    done = write_pack(tmp_path / "pack", splits, header(splits), workers=3)
    pack = open_pack(tmp_path / "pack", splits)
    assert {splits.train.name_of(at): why for at, why in pack.train.unreadable.items()} == {
        "train/b/4.png": "not an image in any format that Pillow knows"
    }
    assert {splits.test.name_of(at): why for at, why in pack.eval.unreadable.items()} == {
        "test/a/1.jpg": "an empty file"
    }
    assert (done.train.unreadable, done.eval.unreadable) == (1, 1)


def test_the_pack_does_not_depend_on_the_number_of_workers(splits: Splits, tmp_path: Path) -> None:
    for workers in (1, 4):
        write_pack(tmp_path / f"pack{workers}", splits, header(splits), workers=workers)
    assert files(tmp_path / "pack1") == files(tmp_path / "pack4")


def test_the_expected_size_is_that_of_the_pack(splits: Splits, tmp_path: Path) -> None:
    images = synthetic_pool(size=10).train
    assert expected_bytes(images, "short", 5) == 3 * 25 * len(images)
    assert expected_bytes(images, "square", 5) == 3 * 25 * len(images)
    done = write_pack(tmp_path / "pack", splits, header(splits))
    # The one damaged file is taken for an image of the mean size.
    assert expected_bytes(splits.train, "short", 16) == pytest.approx(done.train.bytes * 18 / 17, abs=2)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the images that are decoded from now on."""
    seen: list[str] = []
    original = pack_writer.packed_pixels

    def noted(pool: Pool, position: int, mode: Mode, size: int) -> NDArray[np.uint8]:
        seen.append(pool.name_of(position))
        return original(pool, position, mode, size)

    monkeypatch.setattr(pack_writer, "packed_pixels", noted)
    return seen


def names(splits: Splits) -> list[str]:
    return [pool.name_of(at) for pool in (splits.train, splits.test) for at in range(len(pool))]


def interrupt(after: int) -> Progress:
    def stop(done: int, total: int) -> None:
        assert total == 24
        if done == after:
            raise KeyboardInterrupt

    return stop


@pytest.mark.parametrize("after", [1, 13, 18, 19, 24])
def test_an_interrupted_packing_goes_on_behind_the_last_image(
    splits: Splits, tmp_path: Path, decoded: list[str], after: int
) -> None:
    write_pack(tmp_path / "whole", splits, header(splits))
    with pytest.raises(KeyboardInterrupt):
        write_pack(tmp_path / "pack", splits, header(splits), workers=1, on_progress=interrupt(after))
    with pytest.raises(DataError, match=f"is not finished; go on with: {COMMAND}"):
        open_pack(tmp_path / "pack")
    del decoded[:]
    reported: list[int] = []
    write_pack(tmp_path / "pack", splits, header(splits), on_progress=lambda done, total: reported.append(done))
    assert sorted(decoded) == sorted(names(splits)[after:])
    assert reported == list(range(after + 1, 25))
    assert files(tmp_path / "pack") == files(tmp_path / "whole")
    del decoded[:]
    write_pack(tmp_path / "pack", splits, header(splits))
    assert decoded == []


@pytest.mark.parametrize("damage", ["pixels without a record", "half a record", "record of other pixels", "zeros"])
def test_a_half_written_last_image_is_not_trusted(
    splits: Splits, tmp_path: Path, decoded: list[str], damage: str
) -> None:
    write_pack(tmp_path / "whole", splits, header(splits))
    with pytest.raises(KeyboardInterrupt):
        write_pack(tmp_path / "pack", splits, header(splits), workers=1, on_progress=interrupt(10))
    pixels, index = tmp_path / "pack" / "train.bin", tmp_path / "pack" / "train.index"
    good = 10
    if damage == "pixels without a record":
        pixels.write_bytes(pixels.read_bytes() + b"\x07" * 100)
    elif damage == "half a record":
        index.write_bytes(index.read_bytes()[: 9 * RECORD.itemsize + 11])
        good = 9
    elif damage == "record of other pixels":
        content = bytearray(pixels.read_bytes())
        content[-1] ^= 1
        pixels.write_bytes(content)
        good = 9
    else:
        index.write_bytes(index.read_bytes() + bytes(3 * RECORD.itemsize))
    del decoded[:]
    write_pack(tmp_path / "pack", splits, header(splits))
    assert sorted(decoded) == sorted(names(splits)[good:])
    assert files(tmp_path / "pack") == files(tmp_path / "whole")


def test_only_what_was_not_forced_to_the_disk_is_read_again(
    splits: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pack_folder, "SYNC_BYTES", 2000)
    with pytest.raises(KeyboardInterrupt):
        write_pack(tmp_path / "pack", splits, header(splits), workers=1, on_progress=interrupt(10))
    read: list[int] = []
    original = pack_folder.os.pread
    monkeypatch.setattr(pack_folder.os, "pread", lambda *rest: read.append(rest[1]) or original(*rest))
    write_pack(tmp_path / "pack", splits, header(splits))
    assert 0 < sum(read) <= 4000


def test_a_killed_process_loses_nothing_that_it_wrote(splits: Splits, tmp_path: Path, decoded: list[str]) -> None:
    write_pack(tmp_path / "whole", splits, header(splits))
    script = """
import os, signal, sys
from pathlib import Path
from tailwise.data.open import open_data
from tailwise.data.pack_writer import new_header, write_pack

splits = open_data("folder", location=Path(sys.argv[1]))
kill = lambda done, total: os.kill(os.getpid(), signal.SIGKILL) if done == 7 else None
write_pack(Path(sys.argv[2]), splits, new_header(splits, "short", 16, sys.argv[3]), on_progress=kill)
"""
    assert splits.train.root is not None
    arguments = [str(splits.train.root), str(tmp_path / "pack"), COMMAND]
    run = subprocess.run([sys.executable, "-c", script, *arguments], check=False)
    assert run.returncode == -9
    del decoded[:]
    write_pack(tmp_path / "pack", splits, header(splits))
    assert sorted(decoded) == sorted(names(splits)[7:])
    assert files(tmp_path / "pack") == files(tmp_path / "whole")


def test_the_full_check_finds_a_changed_byte(splits: Splits, tmp_path: Path) -> None:
    write_pack(tmp_path / "pack", splits, header(splits))
    seen: list[tuple[int, int]] = []
    pack = open_pack(tmp_path / "pack")
    assert damaged_images(pack, 2, lambda done, total: seen.append((done, total))) == {"train": [], "eval": []}
    assert seen[-1] == (24, 24)
    path = tmp_path / "pack" / "eval.bin"
    content = bytearray(path.read_bytes())
    content[3 * int(pack.eval.first[3])] ^= 128
    path.write_bytes(content)
    assert damaged_images(open_pack(tmp_path / "pack")) == {"train": [], "eval": [3]}


def test_other_labels_of_the_same_images_take_the_same_pack(splits: Splits, tmp_path: Path) -> None:
    write_pack(tmp_path / "pack", splits, header(splits))
    assert splits.train.root is not None
    for pool, name in ((splits.train, "train"), (splits.test, "test")):
        assert pool.paths is not None
        lines = [f"{path} {number % 3}" for number, path in enumerate(pool.paths)]
        (tmp_path / f"{name}.txt").write_text("\n".join(lines))
    relabelled = open_data("list", location=tmp_path / "train.txt", root=splits.train.root)
    assert open_pack(tmp_path / "pack", relabelled).train.sizes.shape == (18, 2)


def test_a_pack_is_mapped_and_not_read(splits: Splits, tmp_path: Path) -> None:
    write_pack(tmp_path / "pack", splits, header(splits))
    pack = open_pack(tmp_path / "pack", splits)
    image = pack.train.image(2)
    assert isinstance(image, np.memmap)
    assert not image.flags.writeable
    assert np.shares_memory(image, pack.train.pixels)
