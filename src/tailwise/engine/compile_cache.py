"""Where compiled kernels are kept between runs, so that the second start costs seconds."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/tailwise``, or ``~/.cache/tailwise``."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "tailwise"


def keep_compiled() -> Path | None:
    """Tells PyTorch's compiler to keep what it makes; an own ``TORCHINDUCTOR_CACHE_DIR`` wins.

    The compiler's default is a folder in that for temporary files, which many clusters empty after every job. It finds
    entries by the graph, the device and its own version, so several versions share the folder.

    Returns:
        The folder; None when it cannot be written or there is no home, so that the compiler's default stays.
    """
    given = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    # The compiler writes its default into the variable as soon as it is imported, which other libraries do for it.
    if given is None or _is_default(Path(given)):
        folder = _own_folder()
        if folder is None:
            return None
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = given = str(folder)
    # Both are on by default in the newer versions.
    os.environ.setdefault("TORCHINDUCTOR_FX_GRAPH_CACHE", "1")
    os.environ.setdefault("TORCHINDUCTOR_AUTOGRAD_CACHE", "1")
    return Path(given)


def _own_folder() -> Path | None:
    try:
        folder = cache_folder() / "compiled"
        folder.mkdir(parents=True, exist_ok=True)
        # Permissions do not tell of a read-only file system.
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except (OSError, RuntimeError):  # the latter: there is no home folder
        return None


def _is_default(folder: Path) -> bool:
    return folder.parent == Path(tempfile.gettempdir()).resolve() and folder.name.startswith("torchinductor_")
