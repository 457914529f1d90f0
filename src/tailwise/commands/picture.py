"""Figures written to files, for the commands that draw one."""

from __future__ import annotations

from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tailwise.core.errors import TailwiseError
from tailwise.engine.checkpoint import write_error


def write_picture(figure: Figure, out: Path) -> None:
    """Writes a figure on a white page; the same figure gives the same file.

    Args:
        figure: The figure.
        out: The file; its suffix says the format, PNG where it has none. Folders that are missing are made.

    Raises:
        RunError: The file cannot be written.
        TailwiseError: No such format.
    """
    kind = out.suffix[1:].lower() or "png"
    same = {"metadata": {"Software": None}} if kind == "png" else {}
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        FigureCanvasAgg(figure)
        figure.savefig(out, format=kind, dpi=150, transparent=False, facecolor="white", **same)
    except OSError as error:
        raise write_error(error, out.parent) from error
    except ValueError as error:
        raise TailwiseError(f"cannot write {out}: {error}") from error
