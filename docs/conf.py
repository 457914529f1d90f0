"""Sphinx settings. `make docs` builds with warnings as errors and needs no network."""

from __future__ import annotations

import importlib
import pkgutil
import re
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

from pybtex.plugin import register_plugin
from pybtex.style.formatting.plain import Style
from pybtex.style.labels import BaseLabelStyle
from sphinx.application import Sphinx

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import generate_methods  # noqa: E402

project = "tailwise"
author = "The tailwise authors"
copyright = author
version = release = installed_version("tailwise")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinxcontrib.bibtex",
]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "tailwise"

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
bibtex_bibfiles = ["references.bib"]
bibtex_reference_style = "author_year"
bibtex_default_style = "keys"

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True


PAPERS = re.findall(r"^@\w+{(\w+),", (HERE / "references.bib").read_text(encoding="utf-8"), re.MULTILINE)
KEY = re.compile(rf"\b({'|'.join(PAPERS)})\b")


class KeyLabels(BaseLabelStyle):
    """The keys by which docstrings name their sources are the labels of the bibliography."""

    def format_labels(self, sorted_entries: Iterable[Any]) -> Iterator[str]:
        """The key of every entry."""
        for entry in sorted_entries:
            yield str(entry.key)


class KeyStyle(Style):
    """The plain style with these labels."""

    default_label_style = KeyLabels


register_plugin("pybtex.style.formatting", "keys", KeyStyle)


def link_papers(app: Sphinx, what: str, name: str, target: Any, options: Any, lines: list[str]) -> None:
    """Turns the bibliography keys of a docstring into citations."""
    lines[:] = [KEY.sub(r":cite:t:`\1`", line) for line in lines]


def list_modules(app: Sphinx, page: str, source: list[str]) -> None:
    """Replaces a line `{modules} <package>` by the documentation of the package and all modules in it."""
    source[0] = re.sub(r"^\{modules\} (\S+)$", lambda found: _modules(found[1]), source[0], flags=re.MULTILINE)


def _modules(name: str) -> str:
    package = importlib.import_module(name)
    options = ("members", "ignore-module-all", "show-inheritance")
    parts = [_automodule(name, ("no-members",))]
    for module in pkgutil.walk_packages(package.__path__, f"{name}."):
        shown = ("no-members",) if module.ispkg else options
        parts.append(f"## {module.name}\n\n{_automodule(module.name, shown)}")
    return "\n\n".join(parts)


def _automodule(name: str, options: tuple[str, ...]) -> str:
    flags = "".join(f"\n   :{option}:" for option in options)
    return f"```{{eval-rst}}\n.. automodule:: {name}{flags}\n```"


def setup(app: Sphinx) -> None:
    """Writes the method pages before the sources are looked for."""
    generate_methods.write_pages(HERE / "methods" / "generated")
    app.connect("source-read", list_modules)
    app.connect("autodoc-process-docstring", link_papers)
