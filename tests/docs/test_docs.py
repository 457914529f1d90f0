"""The documentation names what exists, and its marked blocks run."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tailwise.cli import main
from tailwise.core.registry import PACKAGES, REGISTRY
from tailwise.engine.schedule import Cosine, MultiStep
from tailwise.recipes.base import base_recipe
from tests.docs.blocks import Block, blocks, run

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
SOURCE = ROOT / "src" / "tailwise"
GUIDE = sorted((DOCS / "guide").glob("*.md"))
#: Pages whose blocks train for long; `make test-all` and CI run them, `make test` the others.
LONG = ("auxiliary-learning", "bad-input", "experts", "feature-space-augmentation", "recipes", "reproduce", "reslt")
PAGES = [
    page for page in sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md")]) if not {"_build", "generated"} & set(page.parts)
]


def bibliography() -> set[str]:
    return set(re.findall(r"^@\w+\{(\w+),", (DOCS / "references.bib").read_text(encoding="utf-8"), re.MULTILINE))


def tree(page: Path) -> dict[str, str]:
    """Path -> sentence of every line in the page's trees."""
    found: dict[str, str] = {}
    for text in re.findall(r"^```text\n([a-z]+/.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        above: list[str] = []
        for line in text.splitlines():
            name, _, sentence = line.strip().partition(" ")
            del above[(len(line) - len(line.lstrip())) // 2 :]
            above.append(name)
            found["".join(above)] = sentence.strip()
    return found


def links(page: Path) -> list[str]:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return [target for target in re.findall(r"\]\(([^)\s]+)\)", text) if not target.startswith(("http", "mailto:"))]


def anchors(page: Path) -> set[str]:
    heads = re.findall(r"^#{1,3} (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads}


def test_every_paper_of_the_registry_is_in_the_bibliography() -> None:
    papers = {entry.paper for kind in PACKAGES for entry in REGISTRY.entries(kind)} - {None}
    assert papers
    assert papers - bibliography() == set()


def test_every_key_in_a_docstring_is_in_the_bibliography() -> None:
    text = "\n".join(file.read_text(encoding="utf-8") for file in SOURCE.rglob("*.py"))
    keys = set(re.findall(r"\b[a-z]+(?:19|20)\d\d[a-z]+\b", text))
    assert {"cao2019ldam", "kang2020decoupling"} <= keys
    assert keys - bibliography() == set()


def test_every_key_cited_in_the_documentation_is_in_the_bibliography() -> None:
    cited = {key for page in PAGES for key in re.findall(r"\{cite:[tp]\}`(\w+)`", page.read_text(encoding="utf-8"))}
    assert cited
    assert cited - bibliography() == set()


def test_every_file_in_the_tree_exists_and_has_a_sentence() -> None:
    found = tree(DOCS / "architecture.md")
    assert [path for path in found if not (ROOT / path).exists()] == []
    assert [path for path, sentence in found.items() if not path.endswith("/") and not sentence] == []


def test_every_module_is_in_the_tree() -> None:
    found = tree(DOCS / "architecture.md")
    files = [
        path.relative_to(ROOT).as_posix()
        for path in SOURCE.rglob("*")
        if path.is_file() and path.suffix != ".pyc" and (path.name != "__init__.py" or path.parent == SOURCE)
    ]
    assert files
    assert [path for path in sorted(files) if path not in found] == []


def test_every_package_has_a_reference_page() -> None:
    packages = sorted(path.parent.name for path in SOURCE.glob("*/__init__.py"))
    listed = (DOCS / "reference" / "index.md").read_text(encoding="utf-8").splitlines()
    assert [name for name in packages if name not in listed] == []
    for name in packages:
        assert f"{{modules}} tailwise.{name}" in (DOCS / "reference" / f"{name}.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_relative_links_lead_somewhere(page: Path) -> None:
    for target in links(page):
        path, _, anchor = target.partition("#")
        to = (page.parent / path) if path else page
        assert to.exists(), f"{page}: {target}"
        assert not anchor or anchor in anchors(to), f"{page}: {target}"


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=[pytest.mark.slow] if page.stem in LONG else []) for page in GUIDE],
    ids=lambda page: page.stem,
)
def test_marked_blocks_of_the_guide_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marked = [block for block in blocks(page) if block.mark.startswith("runnable")]
    comments = page.read_text(encoding="utf-8").count("<!-- runnable")
    assert len(marked) == comments
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    run(marked)


def test_the_table_of_settings_is_that_of_the_code() -> None:
    rows = {
        cells[0]: cells[1:]
        for line in (DOCS / "guide" / "recipes.md").read_text(encoding="utf-8").splitlines()
        if len(cells := [cell.strip() for cell in line.strip("|").split("|")]) == 4
    }
    recipes = [base_recipe("digits"), base_recipe("cifar10"), base_recipe("folder", Path("images"), 224)]
    for number, recipe in enumerate(recipes):
        stage, optim = recipe.stages[0], recipe.stages[0].optim
        assert optim is not None
        assert isinstance(optim.schedule, Cosine | MultiStep)
        said = {key: cells[number] for key, cells in rows.items()}
        assert said["backbone"].lower().replace("-", "") == recipe.backbone.name
        assert said["epochs"] == str(stage.epochs)
        assert said["batch"] == str(stage.streams["main"].batch)
        assert optim.kind == "sgd"
        assert said["optimiser"] == f"SGD, momentum {optim.momentum}, {'Nesterov' if optim.nesterov else 'plain'}"
        assert float(said["learning rate"]) == optim.lr
        assert float(said["weight decay"]) == optim.weight_decay
        assert f"{optim.schedule.warmup_epochs} epochs of warm-up" in said["schedule"]
        assert said["schedule"].startswith("cosine") == isinstance(optim.schedule, Cosine)
        assert said["shot protocol"] == f"`{recipe.evaluate.shots}`"
        assert said["variant"] == f"`{recipe.variant}`"
        factor = recipe.data.imbalance_factor
        assert said["imbalance factor"].partition(" ")[0] == ("as" if factor is None else f"{factor:g}")


def test_most_pages_of_the_guide_have_blocks_that_run() -> None:
    assert sum("<!-- runnable" in page.read_text(encoding="utf-8") for page in GUIDE) >= 5


def test_a_block_with_another_message_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    right = "$ tailwise list los\nerror: unknown kind 'los'\n"
    run([Block("runnable: exit 2", "console", right)])
    with pytest.raises(AssertionError, match="expected 'error: all is well'"):
        run([Block("runnable: exit 2", "console", "$ tailwise list los\nerror: all is well\n")])
    with pytest.raises(AssertionError, match="exit status 2"):
        run([Block("runnable", "console", right)])


@pytest.mark.slow
def test_the_worked_example_of_a_loss_passes_its_test_and_the_conformance_suite(tmp_path: Path) -> None:
    example = {block.mark.removeprefix("example: "): block.text for block in blocks(ROOT / "CONTRIBUTING.md")}
    assert sorted(example) == ["test_vector_scaling.py", "vector_scaling.py"]
    for name, text in example.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    # The example is found as a module of the package, as it would be in its place.
    plugin = f"import tailwise.losses\ntailwise.losses.__path__.append({str(tmp_path)!r})\n"
    (tmp_path / "with_example.py").write_text(plugin, encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "with_example",
        "-p",
        "no:cacheprovider",
        "-k",
        "vector_scaling",
    ]
    run = subprocess.run(
        [*command, str(tmp_path / "test_vector_scaling.py"), "tests/conformance/test_conformance.py"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-1000:]
    passed = re.search(r"(\d+) passed", run.stdout)
    assert passed is not None
    assert int(passed[1]) > 5


def test_one_page_is_written_for_every_entry_of_the_registry(tmp_path: Path) -> None:
    generate: dict[str, Any] = runpy.run_path(str(DOCS / "generate_methods.py"))
    pages = generate["write_pages"](tmp_path / "generated")
    entries = [(kind, entry) for kind in PACKAGES for entry in REGISTRY.entries(kind)]
    assert pages == [tmp_path / "generated" / kind / f"{entry.name}.md" for kind, entry in entries]
    for page, (kind, entry) in zip(pages, entries, strict=True):
        text = page.read_text(encoding="utf-8")
        assert text.startswith(f"# {entry.name}\n")
        assert f"{entry.target.__module__}.{entry.target.__name__}" in text
        assert entry.paper is None or f"{{cite:t}}`{entry.paper}`" in text
        source = re.search(r"literalinclude\} /\.\./(\S+)", text)
        assert source is not None
        assert (ROOT / source[1]).is_file()
        assert f"{kind}/{entry.name}.md" in (tmp_path / "generated" / f"{kind}.md").read_text(encoding="utf-8")


def test_hyper_parameters_and_presets_stand_on_the_page(tmp_path: Path) -> None:
    runpy.run_path(str(DOCS / "generate_methods.py"))["write_pages"](tmp_path)
    power = (tmp_path / "samplers" / "power.md").read_text(encoding="utf-8")
    assert "* - `q`\n  - `float`\n  - `1.0`" in power
    assert "`class_balanced` is `power(q=0.0)`" in power
    recipe = (tmp_path / "recipes" / "balanced-softmax.md").read_text(encoding="utf-8")
    assert "`stages.0.objective.0.loss._type`\n  - `'cross_entropy'`\n  - `'balanced_softmax'`" in recipe


#: Document -> table -> what stands before and after its rows.
FILLED = {
    "README.md": {"bag-of-tricks/table8": ("<!-- table8:begin -->", "<!-- table8:end -->")},
    "results/bag_of_tricks/digits.md": {
        f"bag-of-tricks/table{number}": (f"## Table {number}:", "## ") for number in range(3, 12)
    },
}


@pytest.mark.parametrize("page", FILLED)
def test_tables_of_results_are_what_the_stored_results_give(page: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for table, (before, after) in FILLED[page].items():
        assert (
            main(["report", str(ROOT / "results"), "--table", table, "--data", "digits", "--format", "markdown"]) == 0
        )
        given = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
        shown = text.partition(before)[2].partition(after)[0].splitlines()
        assert [line for line in shown if line.startswith("|")] == given
        assert len(given) > 3
