"""What people really give: every mistake ends in one message that names it and the way out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tailwise.core.errors import DataError, UnknownName
from tailwise.data import guess_source, open_data, prepare_index, synthetic_pool


def plant(root: Path, *files: str) -> Path:
    for number, name in enumerate(files):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".png"):
            Image.fromarray(np.full((4, 4, 3), number, dtype=np.uint8)).save(root / name)
        else:
            (root / name).mkdir(exist_ok=True)
    return root


GOOD = ("train/cat/a.png", "train/dog/a.png", "test/cat/a.png", "test/dog/a.png")

FOLDERS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "class folders without train": (
        ("cat/a.png", "dog/a.png"),
        ("has no train/", "<class>/images ('cat', 'dog')", "mkdir -p", "test/cat", "mv "),
    ),
    "one folder too high": (("data/train/cat/a.png", "data/test/cat/a.png"), ("did you mean", "/data?")),
    "misspelt train": (("Train/cat/a.png", "test/cat/a.png"), ("has no train/", "did you mean 'Train'?")),
    "empty folder": ((), ("has no train/ (found: nothing)", "train/<class>/images")),
    "no evaluation split": (("train/cat/a.png", "train/dog/a.png"), ("no test/ or val/", "list file")),
    "one class": (("train/cat/a.png", "test/cat/a.png"), ("1 class folders ('cat')", "at least 2")),
    "no class": (("train/a.png", "test/a.png"), ("0 class folders (nothing)",)),
    "class without images": ((*GOOD[1:], "train/cat"), ("train/cat: no images", ".jpg")),
    "evaluation class without images": ((*GOOD[:3], "test/dog"), ("test/dog: no images",)),
    "other evaluation classes": (
        (*GOOD, "train/emu/a.png", "test/yak/a.png"),
        ("differ", "only in train/: 'emu'", "only in test/: 'yak'"),
    ),
}


@pytest.mark.parametrize("mistake", FOLDERS)
def test_folder_mistake_is_explained(tmp_path: Path, mistake: str) -> None:
    files, words = FOLDERS[mistake]
    with pytest.raises(DataError) as caught:
        open_data("folder", location=plant(tmp_path, *files))
    for word in words:
        assert word in str(caught.value)


def test_train_folder_itself_points_to_its_parent(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"did you mean the folder above, {tmp_path}"):
        open_data("folder", location=plant(tmp_path, *GOOD) / "train")


def test_suggested_commands_make_the_folder_usable(tmp_path: Path) -> None:
    import subprocess

    root = plant(tmp_path / "my pets", "cat/a.png", "cat/b.png")
    with pytest.raises(DataError) as caught:
        open_data("folder", location=root)
    commands = str(caught.value).split("for example: ")[1].split(", then")[0]
    subprocess.run(["/bin/sh", "-c", commands], check=True)
    assert (root / "train" / "cat" / "b.png").is_file()
    assert (root / "test" / "cat").is_dir()


def test_misspelt_folder_offers_its_neighbour(tmp_path: Path) -> None:
    plant(tmp_path / "flowers", *GOOD)
    with pytest.raises(DataError, match="no such folder; did you mean 'flowers'"):
        open_data("folder", location=tmp_path / "flwers")
    with pytest.raises(DataError, match="did you mean 'flowers'"):
        guess_source(str(tmp_path / "flwers"))


def test_file_in_place_of_a_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("")
    with pytest.raises(DataError, match="is a file, not a folder"):
        open_data("folder", location=tmp_path / "x")


def test_misspelt_data_set_offers_the_nearest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"'digts'; did you mean 'digits'\? \(data sets: .*synthetic.*no such folder"):
        guess_source("digts")
    with pytest.raises(UnknownName, match="unknown data set 'cifar1'; did you mean 'cifar1"):
        open_data("cifar1")


def test_path_below_an_absent_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nor is there a folder"):
        guess_source(str(tmp_path / "no" / "where"))


LISTS: dict[str, tuple[str, str, str]] = {
    "no label": ("a.png 0\nb.png\n", "a.png 0\n", r"x_train.txt, line 2: expected 'relative/path label', got 'b.png'"),
    "label is no number": ("a.png 0\n\nb.png one\n", "a.png 0\n", "line 3: expected a whole number.*'one'"),
    "negative label": ("a.png -1\nb.png 0\n", "a.png 0\n", "line 1: expected a whole number.*'-1'"),
    "broken number": ("a.png 0\nb.png 1.0\n", "a.png 0\n", "line 2: expected a whole number.*'1.0'"),
    "gap": ("a.png 0\nb.png 2\n", "a.png 0\n", r"largest is 2 \(line 2\), and 1 below it never occur: 1"),
    "counted from one": ("a.png 1\nb.png 2\n", "a.png 1\n", "never occur: 0; they seem to count from 1"),
    "one class": ("a.png 0\nb.png 0\n", "a.png 0\n", "all 2 lines have the label '0'; at least 2"),
    "empty": ("\n\n", "a.png 0\n", "an empty list"),
    "empty evaluation": ("a.png 0\nb.png 1\n", "", "x_test.txt: an empty list"),
    "new evaluation label": (
        "a.png 0\nb.png 1\n",
        "a.png 0\nb.png 7\n",
        "x_test.txt, line 2: label '7' is not a class",
    ),
    "misspelt evaluation class": ("a.png\tcat\nb.png\tdog\n", "a.png\tcta\n", "label 'cta'.*did you mean 'cat'"),
}


@pytest.mark.parametrize("mistake", LISTS)
def test_list_mistake_names_file_and_line(tmp_path: Path, mistake: str) -> None:
    train, test, message = LISTS[mistake]
    plant(tmp_path, "a.png", "b.png")
    (tmp_path / "x_train.txt").write_text(train)
    (tmp_path / "x_test.txt").write_text(test)
    with pytest.raises(DataError, match=message):
        open_data("list", location=tmp_path / "x_train.txt")


def _no_list(root: Path) -> Path:
    return root / "x_trian.txt"


def _binary(root: Path) -> Path:
    (root / "y_train.txt").write_bytes(b"\xff\xd8\xff\xe0")
    return root / "y_train.txt"


def _no_evaluation(root: Path) -> Path:
    (root / "z_train.txt").write_text("a.png 0\nb.png 1\n")
    return root / "z_train.txt"


def _no_train_in_name(root: Path) -> Path:
    (root / "all.txt").write_text("a.png 0\nb.png 1\n")
    return root / "all.txt"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_no_list, "no such list file; did you mean 'x_train.txt'"),
        (_binary, "not a text file"),
        (_no_evaluation, r"no evaluation list \(looked for z_test.txt and z_val.txt beside it\); name one"),
        (_no_train_in_name, "its name has no 'train' to replace"),
    ],
)
def test_unusable_list_file_is_explained(tmp_path: Path, make: Callable[[Path], Path], message: str) -> None:
    plant(tmp_path, "a.png", "b.png")
    (tmp_path / "x_train.txt").write_text("a.png 0\nb.png 1\n")
    with pytest.raises(DataError, match=message):
        open_data("list", location=make(tmp_path))


def test_wrong_root_of_a_list_is_noticed_before_training(tmp_path: Path) -> None:
    for name in ("x_train.txt", "x_test.txt"):
        (tmp_path / name).write_text("a.png 0\nb.png 1\n")
    with pytest.raises(DataError, match=r"none of 2 sampled images exists.*name the right one as root"):
        open_data("list", location=tmp_path / "x_train.txt")
    with pytest.raises(DataError, match="no such folder for the images"):
        open_data("list", location=tmp_path / "x_train.txt", root=tmp_path / "no")


@pytest.mark.parametrize("name", ["folder", "list"])
def test_location_is_needed(name: str) -> None:
    with pytest.raises(DataError, match="needs the"):
        open_data(name)


def test_cifar_refuses_a_split_that_it_does_not_have() -> None:
    with pytest.raises(DataError, match="no val split; allowed: auto, test"):
        open_data("cifar10", eval_split="val")


@pytest.mark.parametrize(
    ("factor", "most", "message"),
    [
        (0.01, None, "did you mean 100"),
        (100.0, None, "leaves .* without images .* the largest possible factor is 40"),
        (2.0, 50, "'class 0' has 40, needs 50; the largest max_per_class that fits is 40"),
        (None, 0, "max_per_class must be 1 or more, got 0"),
    ],
)
def test_tail_that_cannot_be_cut_says_what_could(factor: float | None, most: int | None, message: str) -> None:
    with pytest.raises(DataError, match=message):
        prepare_index(synthetic_pool(4), imbalance_factor=factor, max_per_class=most)
