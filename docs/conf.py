"""Sphinx settings. `make docs` builds with warnings as errors and needs no network."""

from __future__ import annotations

import importlib
import pkgutil
import re
import sys
from importlib.metadata import version as installed_version
from pathlib import Path

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

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True


def list_modules(app: Sphinx, page: str, source: list[str]) -> None:
    """Replaces a line `{modules} <package>` by the documentation of the package and each of its modules."""
    source[0] = re.sub(r"^\{modules\} (\S+)$", lambda found: _modules(found[1]), source[0], flags=re.MULTILINE)


def _modules(name: str) -> str:
    package = importlib.import_module(name)
    parts = [f"```{{eval-rst}}\n.. automodule:: {name}\n   :no-members:\n```"]
    for module in pkgutil.iter_modules(package.__path__, f"{name}."):
        if not module.ispkg:
            parts.append(
                f"## {module.name}\n\n```{{eval-rst}}\n.. automodule:: {module.name}\n   :members:\n   :ignore-module-all:\n   :show-inheritance:\n```"
            )
    return "\n\n".join(parts)


def setup(app: Sphinx) -> None:
    """Writes the method pages before the sources are looked for."""
    generate_methods.write_pages(HERE / "methods" / "generated")
    app.connect("source-read", list_modules)
