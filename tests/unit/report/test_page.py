"""The page: self-contained, escaped, and its sentences true."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from tailwise import report
from tailwise.core.errors import DataError, RunError
from tailwise.report.classes import worst_classes
from tailwise.report.ledger import Result
from tailwise.report.page import render_page, write_page
from tailwise.report.summary import sentences
from tailwise.report.table import compare_table
from tests.unit.report.fabricated import profile, write_run

HOSTILE = ['<script>alert("x")</script>', "$\\frac{$", "http://evil.example/x.png", 'a" onload="x', "a\nb", "名前" * 30]
SCRIPT = Path(report.__file__).parent / "templates" / "page.js"
VOID = {"meta", "br", "img", "link", "hr", "input"}


class Page(HTMLParser):
    """Collects tags, attributes, texts, and whether every element is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.attributes: list[tuple[str, str, str]] = []
        self.tags: set[str] = set()
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def run(folder: Path, **options: object) -> Result:
    return Result.from_folder(write_run(folder, **options))  # type: ignore[arg-type]


def check_self_contained(text: str) -> Page:
    page = Page(text)
    assert page.open == []
    assert not page.tags & {"link", "iframe", "object", "embed", "base", "form"}
    # The one script is ours, and the page's policy lets the browser run nothing else and fetch nothing at all.
    (script,) = re.findall(r"<script[^>]*>(.*?)</script>", text, re.DOTALL)
    assert text.count("<script>") == 1
    assert script == SCRIPT.read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = [value for _, name, value in page.attributes if name == "content" and "default-src" in value]
    assert policy.split("; ")[0] == "default-src 'none'"
    assert f"script-src 'sha256-{digest}'" in policy
    assert "connect-src" not in policy
    for tag, name, value in page.attributes:
        assert not name.startswith("on"), (tag, name)
        if name in ("src", "href", "xlink:href", "action", "data", "srcset", "poster"):
            assert value.startswith(("#", "data:image/png;base64,", "data:image/jpeg;base64,")), (tag, name, value[:80])
        if name not in ("aria-label", "content"):
            assert "//" not in value or value.startswith("data:image/"), (tag, name, value[:80])
    assert all(target.startswith("#") for target in re.findall(r"url\(\s*['\"]?([^)]*)", text))
    assert "@import" not in text
    ids = [value for _, name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    links = {value[1:] for _, name, value in page.attributes if name == "href" and value.startswith("#")}
    assert links <= set(ids)
    return page


def test_one_run_gives_a_self_contained_page(tmp_path: Path) -> None:
    result = run(tmp_path / "run")
    path = write_page({"ce": [result]}, tmp_path / "deep" / "report.html")
    page = check_self_contained(path.read_text(encoding="utf-8"))
    text = " ".join(page.text)
    for expected in ("ce reaches", "tailwise train ce --seed 0", "stages:", result.recipe_hash, "oltr", "class 9"):
        assert expected in text
    assert "Who gains" not in text
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]


def test_compared_runs_give_a_self_contained_page(tmp_path: Path) -> None:
    groups = {
        name: [run(tmp_path / f"{name}{s}", recipe=name, seed=s, flat=flat, counts=profile(40)) for s in (0, 1)]
        for name, flat in (("ce", 0.2), ("balanced_softmax", 0.8))
    }
    page = check_self_contained(render_page(groups))
    text = " ".join(page.text)
    table = compare_table(groups)
    for row in table.rows:
        cell = row.cells["top1"]
        assert cell is not None
        assert f"{cell.mean:.1f}" in text
    assert "Who gains, who pays" in text
    assert "balanced_softmax, seed 1" in text
    assert all(note in text for note in table.notes)


def test_hostile_names_are_escaped(tmp_path: Path) -> None:
    data = {"name": "<img src=x onerror=y>", "location": "/a/<b>", "test_images": 120, "unreadable": ["<i>.jpg"] * 300}
    notes = ["</pre><script>alert(1)</script>"]
    hostile = run(tmp_path / "a", counts=profile(6, 300, 30), names=HOSTILE, data=data, notes=notes)
    (tmp_path / "a" / "recipe.yaml").write_text("label: </pre><script>alert(2)</script>\n")
    other = run(tmp_path / "b", recipe="b", counts=profile(6, 300, 30), names=HOSTILE, flat=0.9)
    text = render_page({"<script>ce": [hostile], "b": [other]})
    page = check_self_contained(text)
    assert "img" not in page.tags
    shown = " ".join(page.text)
    assert HOSTILE[0] in shown
    assert "<i>.jpg" in shown
    assert "and 100 more" in shown
    assert "300 files could not be read" in shown


@pytest.mark.parametrize("classes", [2, pytest.param(150, marks=pytest.mark.slow)])
def test_any_number_of_classes_gives_a_page(tmp_path: Path, classes: int) -> None:
    groups = {
        name: [run(tmp_path / name, recipe=name, counts=profile(classes), per_class=3, epochs=1)] for name in ("a", "b")
    }
    assert "a" in " ".join(check_self_contained(render_page(groups)).text)


def test_a_run_without_log_recipe_bins_or_test_images_of_a_class_gives_a_page(tmp_path: Path) -> None:
    result = run(tmp_path / "run", counts=profile(5), reliability=None, environment=None, best_on_test=None)
    (tmp_path / "run" / "metrics.jsonl").unlink()
    (tmp_path / "run" / "recipe.yaml").unlink()
    record = {**result.record, "last": dict(result.record["last"])}
    record["confusion"] = [[0] * 5, *record["confusion"][1:]]
    record["last"]["per_class"] = [None, *record["last"]["per_class"][1:]]
    record["last"]["nll"] = None
    text = " ".join(check_self_contained(render_page({"ce": [Result(result.folder, record)]})).text)
    assert "No learning curve was recorded" in text
    assert "nan" not in re.sub(r"[a-z]nan|nan[a-z]", "", text.lower())


def test_the_same_results_give_the_same_page(tmp_path: Path) -> None:
    groups = {"ce": [run(tmp_path / "run", counts=profile(3))]}
    assert render_page(groups) == render_page(groups)


def test_a_failed_write_leaves_the_old_page_and_no_debris(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")
    with pytest.raises(DataError):
        write_page({}, path)
    assert path.read_text() == "old"
    (tmp_path / "taken").mkdir()
    with pytest.raises(RunError, match="cannot write"):
        write_page({"ce": [run(tmp_path / "run", counts=profile(2))]}, tmp_path / "taken")
    assert not [file for file in tmp_path.iterdir() if file.name.startswith(".")]


def test_worst_classes_are_sorted_and_name_their_confusions(tmp_path: Path) -> None:
    result = run(tmp_path)
    rows = worst_classes(result, limit=4)
    assert [row["accuracy"] for row in rows] == pytest.approx(np.sort(result.per_class)[:4])
    label = result.class_names.index(rows[0]["name"])
    others = result.confusion[label].astype(float)
    others[label] = -1
    assert rows[0]["confused"][0][0] == result.class_names[int(others.argmax())]
    assert rows[0]["confused"][0][1] == pytest.approx(100 * others.max() / rows[0]["tested"])


def with_top1(result: Result, top1: float, few: float) -> Result:
    last = dict(result.record["last"])
    last |= {"top1": top1, "balanced_accuracy": top1, "per_class": [90.0] * 7 + [few] * 3}
    return Result(result.folder, {**result.record, "last": last})


def headline(ours: list[Result], theirs: list[Result]) -> list[str]:
    chosen = {"ce": theirs, "ldam": ours}
    return sentences(compare_table(chosen), chosen)


def test_the_headline_states_the_paired_gain_and_whether_seeds_agree(tmp_path: Path) -> None:
    base = [run(tmp_path / str(seed), seed=seed, shots="thirds") for seed in (0, 1, 2)]
    ce = [with_top1(result, top1, 20.0) for result, top1 in zip(base, (50.0, 51.0, 99.0), strict=True)]
    ours = [with_top1(result, top1, 36.0) for result, top1 in zip(base[:2], (57.0, 59.0), strict=True)]
    found = headline(ours, ce)
    # seeds 0 and 1 are common: (7 + 8) / 2; few = labels 6 to 9: (90 + 3 few) / 4
    assert (
        found[0] == "ldam gains 7.5 points over ce: +12.0 on few-shot, +0.0 on medium-shot, +0.0 on many-shot classes."
    )
    assert found[1] == "Top-1 is 58.0 against 50.5 %; the sign is the same in both seeds."


def test_the_headline_admits_a_loss_a_tie_and_disagreement(tmp_path: Path) -> None:
    base = [run(tmp_path / str(seed), seed=seed, shots="thirds") for seed in (0, 1)]
    ce = [with_top1(result, 50.0, 20.0) for result in base]
    lost = headline([with_top1(base[0], 48.0, 16.0)], ce)
    assert lost[0].startswith("ldam loses 2.0 points to ce: \N{MINUS SIGN}3.0 on few-shot")
    assert "one seed each" in lost[1]
    tied = headline([with_top1(base[0], 51.0, 20.0), with_top1(base[1], 49.0, 20.0)], ce)
    assert tied[0].startswith("ldam and ce are level")
    assert "do not agree on the sign (\N{MINUS SIGN}1.0 to +1.0)" in tied[1]
    apart = headline([with_top1(run(tmp_path / "x", seed=9, shots="thirds"), 51.0, 20.0)], ce)
    assert "share no seed" in apart[1]


def test_classes_that_are_never_recognised_and_overconfidence_are_told(tmp_path: Path) -> None:
    result = with_top1(run(tmp_path, shots="thirds"), 63.0, 0.0)
    bins = {"edges": [0.0, 0.5, 1.0], "accuracy": [None, 0.6], "confidence": [None, 0.9], "count": [0, 50]}
    chosen = {"ce": [Result(result.folder, {**result.record, "reliability": bins})]}
    found = " ".join(sentences(compare_table(chosen), chosen))
    assert "ce never recognises 3 of 10 classes." in found
    assert "over-confident: its probabilities promise 30 points more than it keeps" in found
