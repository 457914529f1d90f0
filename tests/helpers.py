"""Things that several test files need."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def shared_path(name: str) -> Path:
    """A file of the reference data that lies beside the checkout (or in ``$TAILWISE_SHARED``), or a skip without it."""
    base = Path(os.environ.get("TAILWISE_SHARED", Path(__file__).resolve().parents[2] / "shared"))
    path = base / name
    if not path.exists():
        pytest.skip(f"reference data {name!r} not found beside the checkout; set TAILWISE_SHARED to its folder")
    return path
