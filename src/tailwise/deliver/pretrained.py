"""A folder that users of timm and of the hub know: weights, ``config.json``, and a model card."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tailwise.core.errors import RunError
from tailwise.deliver.export import TOLERANCE
from tailwise.deliver.metadata import export_metadata
from tailwise.deliver.model_card import model_card
from tailwise.deliver.predictor import Predictor
from tailwise.engine.checkpoint import save_weights, write_error
from tailwise.heads.linear import LinearModule
from tailwise.models.network import Network


def save_pretrained(
    predictor: Predictor, folder: Path | str, *, licence: str | None = None, data_licence: str | None = None
) -> bool:
    """Writes ``config.json``, ``model.safetensors``, ``README.md``, ``tailwise.json`` and ``recipe.yaml``.

    A backbone of timm with a linear head is written under timm's names when timm's own model computes the same logits
    (it pools and classifies as this library does; ConvNeXt, with a normalisation after pooling, does not). Then
    ``timm.create_model("local-dir:FOLDER", pretrained=True)`` reads the folder, and so does ``huggingface_hub``. Every
    other run is written as it is, with ``result.json``, and ``tailwise.load(FOLDER)`` reads it.

    Args:
        predictor: The run.
        folder: A folder that does not exist, or an empty one.
        licence: Of the weights, an identifier that the hub knows (``apache-2.0``); ``unknown`` when not given.
        data_licence: Of the training images, for the card.

    Returns:
        Whether timm can read it.

    Raises:
        RunError: The folder holds something, or cannot be written.
    """
    target = Path(folder)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise RunError(f"{target} exists and is not an empty folder; nothing was changed. Choose another --out")
    twin = _timm_twin(predictor)
    note = {"recipe": predictor.recipe.name, "recipe_hash": predictor.result.recipe_hash, "format": "pt"}
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as temporary:
            at = Path(temporary, "folder")
            at.mkdir()
            if twin is None:
                _copy_run(predictor, at)
            else:
                save_weights(at / "model.safetensors", twin.state_dict(), note)
                shutil.copyfile(predictor.folder / "recipe.yaml", at / "recipe.yaml")
            _write_json(at / "config.json", _config(predictor, twin))
            _write_json(at / "tailwise.json", export_metadata(predictor))
            usage = _usage(target.name, predictor, timm=twin is not None)
            licences = {"weights": licence, "data": data_licence, "backbone": _backbone_licence(predictor, twin)}
            card = model_card(predictor, usage, "tailwise" if twin is None else "timm", licences)
            (at / "README.md").write_text(card, encoding="utf-8")
            os.replace(at, target)
    except OSError as error:
        raise write_error(error, target.parent) from error
    return twin is not None


def _timm_twin(predictor: Predictor) -> nn.Module | None:
    """Timm's own model with the run's weights, if it computes the same logits."""
    network, spec = predictor.network, predictor.recipe.backbone
    inner = getattr(network.backbone, "model", None)
    head = network.head.for_export()
    if inner is None or not isinstance(head, LinearModule):
        return None
    import timm

    size, classifier = predictor.recipe.data.image_size, getattr(inner, "pretrained_cfg", {}).get("classifier")
    if not isinstance(classifier, str):
        return None
    options: dict[str, Any] = {"num_classes": len(predictor.class_names)}
    if getattr(inner, "pretrained_cfg", {}).get("fixed_input_size"):
        options["img_size"] = size
    weights: dict[str, Tensor] = {name: value.cpu() for name, value in inner.state_dict().items()}
    weights |= {f"{classifier}.{name}": value.cpu() for name, value in head.fc.state_dict().items()}
    try:
        twin = timm.create_model(spec.name, pretrained=False, **options)
        twin.load_state_dict(weights)
    except (RuntimeError, TypeError, ValueError):  # parts of timm's head that the run does not have
        return None
    twin.eval()
    return twin if _same_logits(network, twin, size) else None


def _same_logits(network: Network, twin: nn.Module, size: int) -> bool:
    image = np.random.default_rng(0).integers(0, 256, (2, 3, size, size), dtype=np.uint8)
    pixels = torch.from_numpy(image).to(next(network.parameters()).device)
    with torch.no_grad():
        expected = network.eval()(pixels).cpu()
        found = twin(network.pixel(pixels).float().cpu())
    return bool(found.shape == expected.shape and torch.allclose(found, expected, rtol=TOLERANCE, atol=TOLERANCE))


def _config(predictor: Predictor, twin: nn.Module | None) -> dict[str, Any]:
    """Timm's form: what is needed to build the model at the root, the rest in ``pretrained_cfg``."""
    data, spec = predictor.recipe.data, predictor.recipe.backbone
    return {
        "architecture": spec.name.partition(".")[0],
        "num_classes": len(predictor.class_names),
        "num_features": int(getattr(predictor.network.backbone, "num_features", 0)),
        "label_names": list(predictor.class_names),
        "library": "tailwise" if twin is None else "timm",
        "pretrained_cfg": {
            "tag": "tailwise",
            "custom_load": False,
            "input_size": [3, data.image_size, data.image_size],
            "interpolation": "bilinear",
            "crop_pct": 1 / data.eval_zoom,
            "crop_mode": "center",
            "mean": list(data.mean),
            "std": list(data.std),
            "num_classes": len(predictor.class_names),
            **({} if twin is None else _timm_names(twin)),
        },
    }


def _timm_names(twin: nn.Module) -> dict[str, Any]:
    found: Any = getattr(twin, "pretrained_cfg", {})
    return {key: found[key] for key in ("fixed_input_size", "pool_size", "first_conv", "classifier") if found.get(key)}


def _copy_run(predictor: Predictor, to: Path) -> None:
    for name in ("model.safetensors", "recipe.yaml", "result.json", "calibration.json"):
        if (predictor.folder / name).is_file():
            shutil.copyfile(predictor.folder / name, to / name)


def _write_json(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _usage(name: str, predictor: Predictor, *, timm: bool) -> str:
    if timm:
        return (
            "import timm\n\n"
            f'model = timm.create_model("local-dir:{name}", pretrained=True).eval()\n'
            "transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))\n"
        )
    return f'import tailwise\n\npredictor = tailwise.load("{name}")\nprint(predictor.predict("image.jpg")[0].top(5))\n'


def _backbone_licence(predictor: Predictor, twin: nn.Module | None) -> str | None:
    if not (predictor.recipe.backbone.pretrained or predictor.recipe.backbone.weights):
        return "none: trained from random weights"
    found: Any = {} if twin is None else getattr(twin, "pretrained_cfg", {})
    return found.get("license") or None
