"""One headless Chromium for all tests of the page, and a page of three recipes with example images."""

from __future__ import annotations

import base64
import io
import json
import shutil
import subprocess
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tailwise.report.ledger import Result
from tailwise.report.page import write_page
from tests.unit.report.fabricated import profile, write_run

CLASSES = 40
#: What the browser is called by distributions.
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@dataclass
class Visit:
    """An open page with everything that it said and asked for."""

    page: Any
    messages: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@pytest.fixture(scope="session")
def browser() -> Generator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs Playwright's Python package (group test)")
    executable = next((found for name in NAMES if (found := shutil.which(name))), None)
    if executable is None:
        pytest.skip(f"needs a browser: none of {', '.join(NAMES)} is on the path (Debian: apt-get install chromium)")
    # Some distributions install a wrapper that only tells where to get the browser.
    if subprocess.run([executable, "--version"], capture_output=True, timeout=60, check=False).returncode:
        pytest.skip(f"needs a browser: {executable} does not start")
    with sync_api.sync_playwright() as playwright:
        # Containers run tests as root and without the kernel features that Chromium's own sandbox wants.
        opened = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


def picture(value: int) -> str:
    buffer = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), value, dtype=np.uint8)).save(buffer, format="png")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


@pytest.fixture(scope="session")
def groups(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Result]]:
    base = tmp_path_factory.mktemp("runs")
    found: dict[str, list[Result]] = {}
    for name, flat in (("ce", 0.2), ("ldam", 0.5), ("balanced-softmax", 0.8)):
        for seed in (0, 1):
            folder = write_run(base / f"{name}{seed}", recipe=name, seed=seed, flat=flat, counts=profile(CLASSES))
            image = {"predicted": 0, "confidence": 91.0, "image": picture(40), "cam": picture(90)}
            classes = [{"label": c, "images": [image | {"cam_predicted": picture(200)}] * 2} for c in (39, 38, 37)]
            (folder / "examples.json").write_text(json.dumps({"epoch": 40, "classes": classes}))
            found.setdefault(name, []).append(Result.from_folder(folder))
    return found


@pytest.fixture(scope="session")
def report(groups: dict[str, list[Result]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_page(groups, tmp_path_factory.mktemp("page") / "report.html")


@pytest.fixture
def visit(browser: Any, report: Path) -> Generator[Any]:
    """Opens the page; options are those of a browser context."""
    contexts: list[Any] = []

    def opened(**options: Any) -> Visit:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        contexts.append(context)
        found = Visit(context.new_page())

        def check(route: Any) -> None:
            url = route.request.url
            if url.startswith(("file:", "data:")):
                route.continue_()
            else:
                found.requests.append(url)
                route.abort()

        context.route("**/*", check)
        found.page.on("console", lambda message: found.messages.append(f"{message.type}: {message.text}"))
        found.page.on("pageerror", lambda error: found.messages.append(f"error: {error}"))
        found.page.goto(report.as_uri())
        return found

    yield opened
    for context in contexts:
        context.close()
