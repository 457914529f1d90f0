"""``tailwise export``"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console

from tailwise.commands.options import checked
from tailwise.deliver.export import export_run
from tailwise.deliver.predictor import Predictor


@dataclasses.dataclass(frozen=True)
class ExportOptions:
    """Write a finished run as one file for other runtimes, compared with the network before it is kept."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """The run's folder."""
    format: Literal["onnx", "torch"] = "onnx"
    """onnx (needs the export extra), or a program of torch.export."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="PATH")] = None
    """The file; RUN/model.onnx or RUN/model.pt2 when not given."""


def run(arguments: Sequence[str]) -> int:
    """Exports and says where."""
    options = checked(lambda: tyro.cli(ExportOptions, prog="tailwise export", args=list(arguments)))
    predictor = Predictor(options.run, "cpu")
    file, difference = export_run(predictor, options.format, options.out)
    text = f"largest difference of a logit: {difference:.2g}\nexported: {file}"
    Console().print(text, highlight=False, soft_wrap=True)
    return 0
