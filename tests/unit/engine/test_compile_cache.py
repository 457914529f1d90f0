"""Compiled kernels are kept in the user's cache, unless the user says otherwise."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from tailwise.engine.compile_cache import cache_folder, keep_compiled

NAME = "TORCHINDUCTOR_CACHE_DIR"


def test_the_cache_is_the_users_and_not_a_temporary_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    default = Path(tempfile.gettempdir()).resolve() / "torchinductor_somebody"
    for before in (None, str(default)):
        monkeypatch.delenv(NAME, raising=False) if before is None else monkeypatch.setenv(NAME, before)
        assert keep_compiled() == tmp_path / "tailwise" / "compiled"


def test_an_own_folder_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(NAME, str(tmp_path / "mine"))
    assert keep_compiled() == tmp_path / "mine"


def test_without_a_cache_home_it_lies_in_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "tailwise"


@pytest.mark.parametrize("home", ["a file", "none"])
def test_a_folder_that_cannot_be_written_is_left_to_the_compiler(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, home: str
) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv(NAME, raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    if home == "none":
        monkeypatch.setattr(Path, "home", no_home)
    else:
        (tmp_path / ".cache").write_text("in the way")
        monkeypatch.setenv("HOME", str(tmp_path))
    assert keep_compiled() is None
    assert NAME not in os.environ
