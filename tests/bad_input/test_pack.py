"""Mistakes around an image pack: each one clear message, nothing lost, and how to go on."""

from __future__ import annotations

import dataclasses
import errno
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tailwise import cli
from tailwise.core.errors import DataError
from tailwise.data import pack_folder
from tailwise.data.open import open_data
from tailwise.data.pack import open_pack
from tailwise.data.pack_writer import new_header, write_pack
from tailwise.engine.prepare import Prepared, prepare
from tailwise.engine.recipe import Data

CPU = torch.device("cpu")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for split, count in (("train", 5), ("test", 2), ("val", 3)):
        for label in ("a", "b"):
            (tmp_path / "images" / split / label).mkdir(parents=True)
            for number in range(count):
                picture = Image.fromarray(rng.integers(0, 256, (12, 14, 3), dtype=np.uint8))
                picture.save(tmp_path / "images" / split / label / f"{number}.png")
    return tmp_path / "images"


@pytest.fixture
def pack(images: Path, tmp_path: Path) -> Path:
    splits = open_data("folder", location=images)
    write_pack(tmp_path / "pack", splits, new_header(splits, "short", 10, "tailwise data pack images"))
    return tmp_path / "pack"


def start(images: Path, pack: Path | str, **changes: object) -> Prepared:
    data = Data(name="folder", location=str(images), image_size=8, pack=str(pack))
    data = dataclasses.replace(data, **changes)  # pyright: ignore[reportArgumentType]
    return prepare(data, CPU, lambda line: None)


def message(images: Path, pack: Path | str, **changes: object) -> str:
    with pytest.raises(DataError) as caught:
        start(images, pack, **changes)
    return str(caught.value)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_what_is_not_a_pack(images: Path, tmp_path: Path) -> None:
    assert message(images, tmp_path / "nowhere") == (
        f"{tmp_path / 'nowhere'}: no such folder; `tailwise data pack NAME|PATH --size 256 --out DIR` makes one"
    )
    assert message(images, images) == (
        f"{images}: not an image pack (there is no pack.json in it); `tailwise data pack NAME|PATH --size 256 --out "
        "DIR` makes one"
    )


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": "tailwise-pack-1"}'])
def test_a_header_that_cannot_be_understood(images: Path, pack: Path, content: str) -> None:
    (pack / "pack.json").write_text(content)
    assert message(images, pack).startswith(f"{pack}: pack.json is damaged (")


def test_a_pack_of_another_version(images: Path, pack: Path) -> None:
    header = json.loads((pack / "pack.json").read_text())
    (pack / "pack.json").write_text(json.dumps({**header, "format": "tailwise-pack-9"}))
    assert message(images, pack) == (
        f"{pack}: a pack of format 'tailwise-pack-9'; this version reads 'tailwise-pack-1'"
    )


def test_a_pack_of_other_images_says_what_differs(images: Path, pack: Path) -> None:
    whole = message(images, pack, eval_split="val")
    assert whole == (
        f"the pack {pack} is of other images: it holds 4 evaluation images (test of images), the data have 6 (val of "
        "images). It was made by: tailwise data pack images\n"
        "Pack the images that you train on into another folder (`tailwise data pack`)"
    )
    (images / "train" / "a" / "0.png").rename(images / "train" / "a" / "9.png")
    assert "its 10 training images have other names or another order than those of images" in message(images, pack)
    (images / "train" / "a" / "9.png").unlink()
    assert "it holds 10 training images (train of images), the data have 9 (train of images)" in message(images, pack)


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("train.index", "the checksum of its index is not the one in pack.json"),
        ("short train.index", "train.index has 9 images, not 10"),
        ("eval.bin", "eval.bin has 100 bytes, not"),
        ("no train.bin", "train.bin has 0 bytes, not"),
    ],
)
def test_a_damaged_pack_says_where_and_how_to_rebuild_it(images: Path, pack: Path, file: str, words: str) -> None:
    path = pack / file.split()[-1]
    content = bytearray(path.read_bytes())
    if file == "no train.bin":
        path.unlink()
    elif file == "eval.bin":
        path.write_bytes(content[:100])
    elif file == "short train.index":
        path.write_bytes(content[:-5])
    else:
        content[20] ^= 1
        path.write_bytes(content)
    found = message(images, pack)
    assert found.startswith(f"the pack {pack} is damaged: {words}")
    assert found.endswith("; delete the folder and pack again: tailwise data pack images")


def test_a_pack_that_is_too_small(images: Path, pack: Path) -> None:
    assert message(images, pack, eval_zoom=1.5) == (
        f"the pack {pack} has 10 pixels on the short side, and 12 are needed (image_size 8 times eval_zoom 1.5); pack "
        "again with --size 12, or choose a smaller --image-size or --data.eval-zoom"
    )


def test_a_recipe_of_other_pixels(images: Path, pack: Path) -> None:
    assert message(images, pack, pixels="square-8") == (
        "the recipe is of pixels square-8, and those of this run would be short-10. To train on what is there now, "
        "remove `pixels` from the recipe file"
    )
    with pytest.raises(
        DataError, match=r"pixels short-10, and .* decoded from the image files \(--pack names a pack\)"
    ):
        prepare(Data(name="folder", location=str(images), image_size=8, pixels="short-10"), CPU, lambda line: None)


def test_images_that_do_not_fit_on_the_device(images: Path, pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tailwise.engine.prepare._free_memory", lambda: 4000)
    settings = {"augmentation": "random_resized_crop"}
    assert message(images, pack, path="resident", **settings) == (
        "--path resident: the images take 0.0 MB, and 0.0 MB are free on cpu; allowed here: auto, host"
    )
    said: list[str] = []
    data = Data(name="folder", location=str(images), image_size=8, pack=str(pack), augmentation="random_resized_crop")
    prepared = prepare(data, CPU, said.append)
    assert not prepared.resident
    assert len(said) == 1
    assert said[0] == (
        "host path: the packed images take 0.0 MB, more than 30% of the 0.0 MB that are free on cpu; --path resident "
        "takes more"
    )
    monkeypatch.setattr("tailwise.engine.prepare._free_memory", lambda: 1 << 30)
    assert prepare(data, CPU, said.append).resident
    assert len(said) == 1


def test_random_resized_crops_of_files_cannot_be_resident_and_the_way_out_is_named(images: Path) -> None:
    data = Data(name="folder", location=str(images), image_size=8, path="resident", augmentation="random_resized_crop")
    with pytest.raises(DataError, match=r"an image pack \(--pack\)"):
        prepare(data, CPU, lambda line: None)


def command(*arguments: object) -> int:
    return cli.main(["data", "pack", *map(str, arguments)])


def test_the_command_packs_prints_and_verifies(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (images / "train" / "a" / "3.png").write_text("no image")
    assert command("images", "--size", "6", "--eval-split", "val") == 0
    printed = capsys.readouterr().out
    folder = Path("packs") / "images-short-6"
    checksum = json.loads((folder / "pack.json").read_text())["checksum"]
    for words in (
        r"images: 10 training and 6 evaluation images take about \S+ GB as short-6 in packs/images-short-6; ",
        r"16 images packed in \S+ s \(\S+ images/s\)",
        r"pack: packs/images-short-6 \(short-6\): 10 training images \S+ GB, 6 evaluation images \S+ GB",
        f"checksum: {checksum}",
        "1 images cannot be read and are left out:\n  train/a/3.png: not an image in any format that Pillow knows",
        "tailwise train --pack packs/images-short-6",
    ):
        assert re.search(words, printed), words
    made_by = open_pack(folder).header.command
    assert made_by == (
        f"tailwise data pack {images} --size 6 --eval-split val --out {tmp_path / 'packs' / 'images-short-6'}"
    )
    before = files(folder)
    assert cli.main(made_by.split()[1:]) == 0
    assert "nothing to pack: the pack is complete" in capsys.readouterr().out
    assert files(folder) == before
    assert command("--verify", folder) == 0
    assert f"all 16 images are as they were packed; checksum {checksum}" in capsys.readouterr().out
    content = bytearray((folder / "eval.bin").read_bytes())
    content[5] ^= 1
    (folder / "eval.bin").write_bytes(content)
    assert command("--verify", folder) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert "the pixels of 1 images are not those that were packed (eval image 0); delete the folder and pack" in error


def test_a_run_on_a_pack_is_measured_with_its_pixels(images: Path, pack: Path, tmp_path: Path) -> None:
    arguments = ["--data", str(images), "--image-size", "8", "--pack", str(pack), "--epochs", "1"]
    small = ["--stages.0.streams.main.batch", "4", "--with", "backbone=resnet20(width=0.25)"]
    assert cli.main(["train", *arguments, *small, "--out", str(tmp_path / "run")]) == 0
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert cli.main(["evaluate", str(tmp_path / "run")]) == 0
    measured = json.loads((tmp_path / "run" / "evaluation-folder.json").read_text())
    assert measured["confusion"] == result["confusion"]
    assert measured["nll"] == pytest.approx(result["last"]["nll"], rel=1e-5)
    shutil.rmtree(pack)
    assert cli.main(["evaluate", str(tmp_path / "run")]) == 2


def test_an_interruption_says_how_to_go_on(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = pack_folder.PartWriter.add

    def interrupted(writer: pack_folder.PartWriter, *rest: object) -> None:
        if writer.done == 4:
            raise KeyboardInterrupt
        original(writer, *rest)  # pyright: ignore[reportArgumentType]

    with monkeypatch.context() as patch:
        patch.setattr(pack_folder.PartWriter, "add", interrupted)
        assert command(images, "--size", "6", "--out", tmp_path / "pack", "--workers", "2") == 130
    told = " ".join(capsys.readouterr().err.split())
    again = f"tailwise data pack {images} --size 6 --out {tmp_path / 'pack'}"
    assert told == f"stopped: 4 of 14 images are packed in {tmp_path / 'pack'}. Go on with: {again}"
    assert cli.main(again.split()[1:]) == 0
    assert "10 images packed in" in capsys.readouterr().out


def test_a_full_disk_loses_nothing(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command(images, "--size", "6", "--out", tmp_path / "whole") == 0
    capsys.readouterr()
    left = 1500
    original = pack_folder.os.write

    def write(file: int, content: memoryview) -> int:
        nonlocal left
        if len(content) > left > 0:
            content = content[:left]
        if not left:
            raise OSError(errno.ENOSPC, "No space left on device")
        left -= len(content)
        return original(file, content)

    with monkeypatch.context() as patch:
        patch.setattr(pack_folder.os, "write", write)
        assert command(images, "--size", "6", "--out", tmp_path / "pack") == 2
    told = " ".join(capsys.readouterr().err.split())
    again = f"tailwise data pack {images} --size 6 --out {tmp_path / 'pack'}"
    assert told == (
        f"error: cannot write to {tmp_path / 'pack'}: the disk is full. The images packed so far are kept; free some "
        f"space and go on with: {again}"
    )
    assert cli.main(again.split()[1:]) == 0
    packed = re.search(r"(\d+) images packed", capsys.readouterr().out)
    assert packed is not None
    assert 0 < int(packed[1]) < 14
    for name in ("train.bin", "train.index", "eval.bin", "eval.index"):
        assert (tmp_path / "pack" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_folders_that_hold_something_else_are_left_alone(
    images: Path, pack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("letter")
    told = {
        images: f"{images} is not empty and holds no pack (found: 'test'); choose another folder with --out",
        tmp_path / "file": f"{tmp_path / 'file'} is a file; choose a folder for the pack with --out",
        pack: f"{pack} holds a pack short-10, not short-6; choose another folder with --out",
    }
    before = files(pack)
    for folder, words in told.items():
        assert command(images, "--size", "6", "--out", folder) == 2
        assert " ".join(capsys.readouterr().err.split()) == f"error: {words}"
    (images / "train" / "a" / "0.png").unlink()
    assert command(images, "--size", "10", "--out", pack) == 2
    assert "is of other images: it holds 10 training images" in capsys.readouterr().err
    assert files(pack) == before
    assert sorted(path.name for path in images.iterdir()) == ["test", "train", "val"]


def test_two_processes_do_not_pack_into_one_folder(images: Path, tmp_path: Path) -> None:
    splits = open_data("folder", location=images)
    header = new_header(splits, "short", 6, "")
    with (
        pack_folder.claimed(tmp_path / "pack", header, splits),
        pytest.raises(DataError, match="another process is packing into"),
    ):
        write_pack(tmp_path / "pack", splits, header)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "name the images to pack: tailwise data pack NAME|PATH --size 256"),
        (["digits", "--size", "0"], "a pack needs a size of 1 pixel or more, got 0"),
        (["digits", "--workers", "0"], "--workers must be 1 or more, got 0"),
        (["digitz"], "did you mean 'digits'"),
        (["--verify", "nowhere"], "nowhere: no such folder"),
    ],
)
def test_arguments_that_make_no_sense(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command(*arguments) == 2
    assert words in " ".join(capsys.readouterr().err.split())
    assert list(tmp_path.iterdir()) == []
