"""From folders, lists and tables to a run; test images and groups stay where they belong."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tailwise import cli
from tailwise.core.errors import DataError
from tailwise.data.open import guess_source, open_data
from tailwise.own import collect
from tailwise.report.ledger import Result
from tests.unit.deliver.conftest import make_images


def rows_of(file: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(file.open(encoding="utf-8")))


def test_fit_takes_a_folder_to_a_calibrated_run_and_names_the_next_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    make_images(Path("zoo"), {"train": (90, 30, 6), "test": (3, 3, 3)})
    assert cli.main(["fit", "zoo", "--epochs", "1", "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    for words in ("imbalance factor 14.4", "held out 25 of 126 images", "balanced-softmax: the largest class has",
                  "measured on validation images", "tailwise predict", "tailwise export"):  # fmt: skip
        assert words in said, words
    result = Result.from_folder("runs/zoo-fit/run")
    assert result.class_counts.tolist() == [72, 24, 5]
    assert result.data["test_images"] == 25
    assert result.select == "last"
    assert (result.folder / "calibration.json").is_file()
    evaluate = re.search(r"tailwise (evaluate .*--eval-split test)", said)
    assert evaluate is not None
    assert cli.main(evaluate[1].split()) == 0
    assert "on data.csv, 9 images" in " ".join(capsys.readouterr().out.split())
    splits = {row["image"]: row["split"] for row in rows_of(Path("runs/zoo-fit/data.csv"))}
    assert {split for image, split in splits.items() if image.startswith("test/")} == {"test"}
    assert cli.main(["fit", "zoo", "--epochs", "1"]) == 2
    assert "exists and is not an empty folder; go on with --resume" in capsys.readouterr().err
    assert cli.main(["fit", "zoo", "--epochs", "1", "--device", "cpu", "--resume"]) == 0
    assert "nothing to train" in capsys.readouterr().out


def test_groups_stay_on_one_side_and_crossing_given_splits_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    zoo = make_images(tmp_path / "zoo", {".": (12, 12, 12)})
    arguments = ["--group-regex", r"/(\d)\d\.", "--epochs", "1", "--device", "cpu"]
    assert cli.main(["fit", str(zoo), "--out", str(tmp_path / "out"), *arguments]) == 0
    assert "held out 6 of 36 images for validation, 2 groups each on one side" in capsys.readouterr().out
    splits = {row["image"][4]: row["split"] for row in rows_of(tmp_path / "out" / "data.csv")}
    assert splits == {"0": "train", "1": "val"}  # images 00 to 09 and 10, 11 of each class
    (tmp_path / "t.csv").write_text("image,label,split,cam\na.png,x,train,1\nb.png,y,train,2\nc.png,x,val,1\n")
    table = ["fit", str(tmp_path / "t.csv"), "--out", str(tmp_path / "other"), "--group-column", "cam"]
    assert cli.main(table) == 2
    assert "1 groups have images in more than one given split: 1" in capsys.readouterr().err


def test_a_parquet_table_of_bytes_becomes_files_and_a_csv_of_paths_stays_as_it_is(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    zoo = make_images(tmp_path / "zoo", {".": (3, 2, 2)})
    files = sorted(zoo.rglob("*.*g"))
    labels = [file.parent.name for file in files]
    content: Any = [{"bytes": file.read_bytes(), "path": file.name} for file in files]
    parquet.write_table(pyarrow.table({"image": content, "label": labels}), tmp_path / "t.parquet")
    found = collect(tmp_path / "t.parquet", tmp_path / "images")
    assert list(found.labels) == labels
    for path, file in zip(found.paths, files, strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(found.root / path)), np.asarray(Image.open(file)))
    text = "file,species,site\n" + "".join(f"{file.relative_to(zoo)},{n},s{n}\n" for n, file in enumerate(files))
    (zoo / "t.csv").write_text(text)
    plain = collect(zoo / "t.csv", tmp_path / "unused", group_column="site")
    assert plain.class_names == tuple(str(number) for number in range(7))
    assert plain.groups == tuple(f"s{number}" for number in range(7))
    assert not (tmp_path / "unused").exists()


def test_labels_may_be_numbers_that_begin_anywhere(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("image,label,split\na,10,train\nb,9,train\nc,9,test\nd,10,val\n")
    assert guess_source(str(tmp_path / "t.csv"))[0] == "table"
    (tmp_path / "list.csv").write_text("images/a.png 0\nimages/b.png 1\n")
    assert guess_source(str(tmp_path / "list.csv"))[0] == "list"
    splits = open_data("table", location=tmp_path / "t.csv")
    assert splits.train.class_names == ("9", "10")
    assert splits.train.labels.tolist() == [1, 0]
    assert splits.test.paths == ("c",)
    assert open_data("table", location=tmp_path / "t.csv", eval_split="val").test.labels.tolist() == [1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,label\na,x\nb\n", "t.csv, row 3: 1 fields, and the first line names 2 columns"),
        ("", "t.csv: an empty table; the first line names the columns"),
        ("image,label\n", "an empty table"),
        ("a,a\n1,2\n", "two columns have the same name: a, a"),
        ("pic,label\na,x\n", "no column of images (looked for image, path"),
        ("image,label\na,\nb,y\n", "image 1 of the table has no label"),
        ("image,label\na,x\nb,x\n", "1 classes; at least 2 are needed"),
        ("image,label,split\na,x,train\nb,y,dev\n", "split 'dev' is not one of test, train, val"),
        ("image,label,split\na,x,train\nc,z,train\nb,y,val\n", "classes without an image in train: 'y'"),
    ],
)
def test_tables_that_make_no_sense_are_told(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DataError, match=re.escape(message)):
        collect(tmp_path / "t.csv", tmp_path / "images")


def test_options_that_do_not_fit_are_told(tmp_path: Path) -> None:
    zoo = make_images(tmp_path / "zoo", {".": (1, 1, 1)})
    (tmp_path / "t.csv").write_text("image,label\na,x\nb,y\n")
    for options, message in (
        ({"group_column": "camra"}, "no column 'camra'; columns: image, label"),
        ({"label_column": "lable"}, "no column 'lable'; did you mean 'label'?; columns: image, label"),
        ({"group_regex": "("}, "--group-regex '(' is not a regular expression"),
        ({"group_regex": "zebra"}, "--group-regex 'zebra' finds no group in 'a'"),
    ):
        with pytest.raises(DataError, match=re.escape(message)):
            collect(tmp_path / "t.csv", tmp_path / "images", **options)
    with pytest.raises(DataError, match="--group-column names a column of a table"):
        collect(zoo, tmp_path / "images", group_column="x")
    with pytest.raises(DataError, match="no such folder, list or table"):
        collect(tmp_path / "zo", tmp_path / "images")
    (tmp_path / "empty" / "class").mkdir(parents=True)
    with pytest.raises(DataError, match="no images in class folders; needed: empty/<class>/images"):
        collect(tmp_path / "empty", tmp_path / "images")


def test_parquet_without_pyarrow_and_broken_parquet_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "t.parquet").write_text("no")
    with pytest.raises(DataError, match=r"t\.parquet: cannot be read as Parquet"):
        collect(tmp_path / "t.parquet", tmp_path / "images")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(DataError, match=r"needs pyarrow; install it with: pip install 'tailwise\[parquet\]'"):
        collect(tmp_path / "t.parquet", tmp_path / "images")
