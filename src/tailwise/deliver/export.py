"""A finished run as one file for other runtimes, compared with the network before it is kept."""

from __future__ import annotations

import importlib
import json
import logging
import os
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from tailwise.core.errors import RunError, TailwiseError, UnknownName
from tailwise.deliver.metadata import export_metadata
from tailwise.deliver.predictor import Predictor
from tailwise.engine.checkpoint import write_error
from tailwise.models.network import Network

Format = Literal["onnx", "torch"]
#: Largest difference of a logit from the network's, absolute and relative to the largest logit.
TOLERANCE = 1e-4
SUFFIXES: dict[str, str] = {"onnx": ".onnx", "torch": ".pt2"}

#: uint8 ``[B,3,S,S]`` to logits ``[B,C]``.
Computes = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


def export_run(predictor: Predictor, kind: Format, out: Path | None = None) -> tuple[Path, float]:
    """Writes a network as ONNX or as a ``torch.export`` program.

    The network takes uint8 images ``image`` ``[batch, 3, size, size]``, any batch, and gives ``logits`` ``[batch, C]``
    in float32. The head is what its ``for_export`` gives. The metadata (:func:`tailwise.deliver.metadata`) lie in the
    file: in ONNX under the key ``tailwise`` as JSON, in a ``torch.export`` program as the extra file ``tailwise.json``.
    The file is read back and compared with the network of the run on random images in batches of 1 and 3; one that
    differs by more than 1e-4 is not kept.

    Args:
        predictor: The run.
        kind: ``onnx`` (opset of PyTorch's exporter) or ``torch``.
        out: The file; ``model.onnx`` or ``model.pt2`` in the run's folder when not given.

    Returns:
        The file, and the largest difference of a logit.

    Raises:
        UnknownName: Another format.
        TailwiseError: The export extra is not installed, or the network cannot be exported.
        RunError: The file cannot be written, or computes other logits.
    """
    if kind not in get_args(Format):
        raise UnknownName("export format", kind, get_args(Format))
    if kind == "onnx":
        _need("onnx", "onnxruntime", "onnxscript")
    target = out or predictor.folder / f"model{SUFFIXES[kind]}"
    partial = target.with_name(f".{target.name}.partial{SUFFIXES[kind]}")
    size = predictor.recipe.data.image_size
    trained = predictor.network.cpu().float().eval()
    network = Network(trained.pixel, trained.backbone, trained.head.for_export()).eval()
    example = torch.zeros(2, 3, size, size, dtype=torch.uint8)
    metadata = json.dumps(export_metadata(predictor))
    write, read = (_write_onnx, _read_onnx) if kind == "onnx" else (_write_torch, _read_torch)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _quiet():
            write(network, example, metadata, partial)
            difference = _difference(trained, read(partial), size)
        os.replace(partial, target)
    except OSError as error:
        raise write_error(error, target.parent) from error
    finally:
        partial.unlink(missing_ok=True)
        predictor.network.to(predictor.runtime.device)
    return target, difference


def read_metadata(file: Path) -> dict[str, Any]:
    """The metadata in a file that :func:`export_run` wrote.

    Raises:
        RunError: Not such a file.
    """
    try:
        if file.suffix == ".onnx":
            import onnx

            model = onnx.load(str(file), load_external_data=False)
            text = next(item.value for item in model.metadata_props if item.key == "tailwise")
        else:
            extra = {"tailwise.json": ""}
            torch.export.load(str(file), extra_files=extra)
            text = extra["tailwise.json"]
        return json.loads(text)
    except Exception as error:  # the readers have no common error
        raise RunError(f"{file}: not an exported run ({type(error).__name__}: {error})") from error


def _write_onnx(network: Network, example: torch.Tensor, metadata: str, file: Path) -> None:
    import onnx

    shapes = {"image": {0: torch.export.Dim("batch")}}
    try:
        program: Any = torch.onnx.export(
            network,
            (example,),
            dynamo=True,
            dynamic_shapes=shapes,
            input_names=["image"],
            output_names=["logits"],
            external_data=False,
            verbose=False,
        )
        model = program.model_proto
    except Exception as error:  # the exporter raises its own kinds, of which none is public
        raise TailwiseError(f"the network cannot be exported as ONNX: {str(error).strip().splitlines()[0]}") from error
    model.metadata_props.append(onnx.StringStringEntryProto(key="tailwise", value=metadata))
    onnx.save(model, str(file))


def _read_onnx(file: Path) -> Computes:
    import onnxruntime

    session: Any = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return lambda image: session.run(["logits"], {"image": image})[0]


def _write_torch(network: Network, example: torch.Tensor, metadata: str, file: Path) -> None:
    try:
        program = torch.export.export(network, (example,), dynamic_shapes={"image": {0: torch.export.Dim("batch")}})
    except Exception as error:  # as above
        raise TailwiseError(f"the network cannot be exported: {str(error).strip().splitlines()[0]}") from error
    torch.export.save(program, str(file), extra_files={"tailwise.json": metadata})


def _read_torch(file: Path) -> Computes:
    module = torch.export.load(str(file)).module()
    return lambda image: module(torch.from_numpy(image)).detach().numpy()


def _difference(network: Network, other: Computes, size: int) -> float:
    generator, worst = np.random.default_rng(0), 0.0
    for batch in (1, 3):
        image = generator.integers(0, 256, (batch, 3, size, size), dtype=np.uint8)
        with torch.no_grad():
            expected = network(torch.from_numpy(image)).numpy()
        found = float(np.abs(other(image) - expected).max())
        if not found <= TOLERANCE * max(1.0, float(np.abs(expected).max())):
            raise RunError(f"the exported network computes other logits (by up to {found:.3g}); nothing was written")
        worst = max(worst, found)
    return worst


def _need(*packages: str) -> None:
    missing: list[str] = []
    for name in packages:
        try:
            importlib.import_module(name)
        except ImportError:
            missing.append(name)
    if missing:
        raise TailwiseError(
            f"export to ONNX needs {', '.join(missing)}; install them with: pip install 'tailwise[export]'. "
            "--format torch needs nothing more"
        )


@contextmanager
def _quiet() -> Generator[None]:
    """Without the exporters' talk of their own progress and of operators that they leave out."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
