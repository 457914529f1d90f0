"""The model card of a run: what it was trained on, how good it is by group, and for which prior."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from tailwise.deliver.metadata import export_metadata
from tailwise.deliver.predictor import Predictor

#: Classes that the table of class sizes shows from each end.
SHOWN = 10
NOT_STATED = "not stated"


def model_card(predictor: Predictor, usage: str, library: str, licences: Mapping[str, str | None]) -> str:
    """Markdown with a YAML head, as ``README.md`` of a model folder.

    Args:
        predictor: The run.
        usage: A block of Python that loads the model.
        library: ``timm`` or ``tailwise``: what reads the folder.
        licences: Of the ``weights``, the ``data`` and the ``backbone`` that the weights began with; None where nobody
            said.
    """
    about = export_metadata(predictor)
    head = {
        "license": licences.get("weights") or "unknown",
        "library_name": library,
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "long-tailed-recognition", "tailwise", library],
    }
    parts = [
        f"---\n{yaml.safe_dump(head, sort_keys=False)}---\n",
        f"# {predictor.recipe.backbone.name}, trained with {predictor.recipe.name}\n",
        _about(predictor),
        f"## Use\n\n```python\n{usage}```\n",
        _preprocessing(about["preprocessing"]),
        _data(predictor),
        _measures(predictor),
        _prior(predictor, about),
        _licences(licences),
    ]
    return "\n".join(parts)


def _about(predictor: Predictor) -> str:
    result = predictor.result
    return (
        f"An image classifier of {len(predictor.class_names)} classes, made with tailwise. Recipe "
        f"`{result.recipe}` ({result.recipe_hash}), seed {result.seed}; the complete recipe is `recipe.yaml`.\n"
    )


def _preprocessing(values: Mapping[str, Any]) -> str:
    rows = "\n".join(f"| {name.replace('_', ' ')} | {value} |" for name, value in values.items())
    return f"## Preprocessing\n\n| step | value |\n|---|---|\n{rows}\n"


def _data(predictor: Predictor) -> str:
    stats, data = predictor.stats, predictor.result.data
    order = stats.by_frequency.tolist()
    shown = order if len(order) <= 2 * SHOWN else [*order[:SHOWN], *order[-SHOWN:]]
    rows = [f"| {_cell(predictor.class_names[label])} | {stats.counts[label]:,} |" for label in shown]
    if len(shown) < len(order):
        rows.insert(SHOWN, f"| ... {len(order) - 2 * SHOWN} more | |")
    unreadable = len(data.get("unreadable") or ())
    return (
        f"## Training data\n\n{data['name']}: {stats.num_images:,} images, imbalance factor "
        f"{stats.imbalance_factor:.4g} (largest class over smallest), Gini coefficient {stats.gini:.3f}; {unreadable} "
        "images could not be read and were left out.\n\n| class | training images |\n|---|---:|\n"
        + "\n".join(rows)
        + "\n"
    )


def _measures(predictor: Predictor) -> str:
    result = predictor.result
    selected = result.selected
    chosen = "the last epoch" if result.select == "last" else "the epoch that was best on these very images"
    rows = [f"| {name.replace('_', ' ')} | {_number(selected[name])} |" for name in
            ("top1", "balanced_accuracy", "harmonic_mean", "worst_class", "ece")]  # fmt: skip
    for name, group in selected["groups"].items():
        of = f"{group['classes']} classes, {group['images']:,} training images"
        rows.append(f"| {name}-shot accuracy ({of}) | {_number(group['accuracy'])} |")
    return (
        f"## Measures\n\nIn percent, on the {predictor.recipe.data.eval_split} split "
        f"({result.data.get('test_images')} images), after {chosen}; groups by the rule `{result.shots}`.\n\n"
        "| measure | value |\n|---|---:|\n" + "\n".join(rows) + "\n"
    )


def _prior(predictor: Predictor, about: Mapping[str, Any]) -> str:
    known = about["logits_prior"]
    if known is None:
        text = "The recipe does not tell which class frequencies the logits are of."
    elif max(known) - min(known) < 1e-9:
        text = (
            "The logits are of equally frequent classes: they suit a place where every class is as likely as another."
        )
    else:
        text = (
            f"The logits are of class frequencies from {max(known):.4g} to {min(known):.4g} (`logits_prior` in "
            "`tailwise.json`). For a place with others, add log(new / old) to the logits of each class."
        )
    calibration = predictor.calibration
    if calibration is None:
        text += " The probabilities were not calibrated."
    else:
        text += (
            f" Divide the logits by the temperature {calibration.temperature.temperature:.4g}, which was fitted on "
            f"{calibration.images} held-out images ({calibration.source})."
        )
    return f"## Intended prior\n\n{text}\n"


def _licences(licences: Mapping[str, str | None]) -> str:
    rows = "\n".join(f"| {name} | {value or NOT_STATED} |" for name, value in licences.items())
    return f"## Licences\n\n| of | licence |\n|---|---|\n{rows}\n"


def _cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
