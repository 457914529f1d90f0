"""Where compiled kernels are kept between runs, so that the second start costs seconds."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/tailwise``, or ``~/.cache/tailwise``."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "tailwise"


def keep_compiled() -> Path:
    """Tells PyTorch's compiler to keep what it makes; an own ``TORCHINDUCTOR_CACHE_DIR`` wins.

    The compiler's default is a folder in that for temporary files, which many clusters empty after every job. It finds
    entries by the graph, the device and its own version, so several versions share the folder.

    Returns:
        The folder.
    """
    given = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    # The compiler writes its default into the variable as soon as it is imported, which other libraries do for it.
    if given is None or _is_default(Path(given)):
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = given = str(cache_folder() / "compiled")
    # Both are on by default in the newer versions.
    os.environ.setdefault("TORCHINDUCTOR_FX_GRAPH_CACHE", "1")
    os.environ.setdefault("TORCHINDUCTOR_AUTOGRAD_CACHE", "1")
    return Path(given)


def _is_default(folder: Path) -> bool:
    return folder.parent == Path(tempfile.gettempdir()).resolve() and folder.name.startswith("torchinductor_")
