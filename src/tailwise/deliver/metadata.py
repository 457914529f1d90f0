"""What a user of an exported network has to know: preprocessing, classes, priors, calibration, as plain data."""

from __future__ import annotations

from typing import Any

from tailwise.core.errors import TailwiseError
from tailwise.data.rgb import BACKGROUND
from tailwise.deliver.logits_prior import logits_prior
from tailwise.deliver.predictor import Predictor

FORMAT = 1


def export_metadata(predictor: Predictor) -> dict[str, Any]:
    """Plain data that JSON can hold.

    Returns:
        ``preprocessing`` (how a picture becomes the uint8 input; scaling with ``mean`` and ``std`` is in the network),
        ``class_names`` and ``class_counts`` in label order, ``logits_prior`` (None when the recipe does not tell),
        ``temperature`` (None without a calibration), recipe, hash, seed and measures.
    """
    recipe, result, data = predictor.recipe, predictor.result, predictor.recipe.data
    try:
        prior = logits_prior(recipe, predictor.stats).tolist()
    except TailwiseError:
        prior = None
    calibration = predictor.calibration
    return {
        "format": FORMAT,
        "recipe": recipe.name,
        "recipe_hash": result.recipe_hash,
        "seed": result.seed,
        "class_names": list(predictor.class_names),
        "class_counts": predictor.stats.counts.tolist(),
        "logits_prior": prior,
        "temperature": None if calibration is None else calibration.temperature.temperature,
        "preprocessing": {
            "orientation": "upright by EXIF",
            "colours": "RGB, 8 bits a channel",
            "transparent_pixels_show": list(BACKGROUND),
            "crop": "centre square",
            "crop_share_of_short_side": 1 / data.eval_zoom,
            "size": data.image_size,
            "interpolation": "bilinear, antialiased",
            "input": f"uint8 [batch, 3, {data.image_size}, {data.image_size}]",
            "mean": list(data.mean),
            "std": list(data.std),
            "scaling": "inside the network: (input / 255 - mean) / std",
        },
        "measures": {
            "split": data.eval_split,
            "select": result.select,
            **{name: result.selected[name] for name in ("top1", "balanced_accuracy", "ece", "nll", "shots", "groups")},
        },
    }
