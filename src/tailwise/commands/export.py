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
from tailwise.deliver.pretrained import save_pretrained


@dataclasses.dataclass(frozen=True)
class ExportOptions:
    """Write a finished run for other programs; a file is compared with the network before it is kept."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """The run's folder."""
    format: Literal["onnx", "torch", "folder"] = "onnx"
    """onnx (needs the export extra), a program of torch.export, or a folder with weights, config and model card."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="PATH")] = None
    """The file or folder; RUN/model.onnx, RUN/model.pt2 or RUN/pretrained when not given."""
    license: str | None = None
    """Licence of the weights for the model card, as the hub calls it (apache-2.0)."""
    data_license: str | None = None
    """Licence of the training images for the model card."""


def run(arguments: Sequence[str]) -> int:
    """Exports and says where."""
    options = checked(lambda: tyro.cli(ExportOptions, prog="tailwise export", args=list(arguments)))
    predictor = Predictor(options.run, "cpu")
    if options.format == "folder":
        folder = options.out or options.run / "pretrained"
        by_timm = save_pretrained(predictor, folder, licence=options.license, data_licence=options.data_license)
        reader = (
            f'timm.create_model("local-dir:{folder}", pretrained=True)' if by_timm else f'tailwise.load("{folder}")'
        )
        Console().print(f"read it with: {reader}\nexported: {folder}", highlight=False, soft_wrap=True, markup=False)
        return 0
    file, difference = export_run(predictor, options.format, options.out)
    text = f"largest difference of a logit: {difference:.2g}\nexported: {file}"
    Console().print(text, highlight=False, soft_wrap=True)
    return 0
