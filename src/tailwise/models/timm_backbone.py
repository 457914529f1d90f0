"""Any timm model as a backbone: maps in one layout, whatever the model's own is (wightman2019timm)."""

from __future__ import annotations

import functools
import logging
import math
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from tailwise.core.errors import TailwiseError
from tailwise.models.backbone import Backbone, Between

logger = logging.getLogger(__name__)


class TimmBackbone(Backbone):
    """A timm model up to its feature maps.

    Maps ``[B, h, w, D]`` are transposed; tokens ``[B, T, D]`` lose class and register tokens and return to their
    grid. What timm counts to a model's head (pooling, and in some models a last normalisation or convolution) is left
    out: the library's heads begin with the maps.

    Its layers are the modules that timm describes as the model's stages (``feature_info``), under timm's names:
    ``layer1`` to ``layer4`` in a ResNet, ``stages.0`` and so on in a ConvNeXt, ``blocks.0`` and so on in a transformer.
    What they return has the model's own layout.

    Args:
        name: A name of ``timm.list_models()``, with or without a tag.
        pretrained: Fetch timm's published weights from the hub.
        weights: A local file of weights, instead of the hub.
        image_size: Side of the square images in pixels; default: the size the model was published for.

    Raises:
        TailwiseError: The weights cannot be had, the image size does not suit the model, or the model has no maps.
    """

    def __init__(
        self, name: str, *, pretrained: bool = False, weights: str | None = None, image_size: int | None = None
    ) -> None:
        super().__init__()
        self.model = _create(name, pretrained, weights, image_size)
        self._prefix_tokens = int(getattr(self.model, "num_prefix_tokens", 0))
        self._channels_last = getattr(self.model, "output_fmt", "NCHW") == "NHWC"
        size = image_size or int(getattr(self.model, "pretrained_cfg", {}).get("input_size", (3, 224, 224))[-1])
        stages = _stages(self.model)
        raw, unused, calls = _probe(self.model, name, size, stages)
        self.layers = tuple(layer for layer, count in calls.items() if count == 1)
        self._between: Between | None = None
        for layer in self.layers:
            stages[layer].register_forward_hook(functools.partial(self._after, layer))
        self._stride = 1
        if raw.ndim == 3:
            side = math.isqrt(max(raw.shape[1] - self._prefix_tokens, 0))
            if side < 1 or side * side != raw.shape[1] - self._prefix_tokens:
                raise TailwiseError(
                    f"backbone {name!r}: its {raw.shape[1]} tokens do not form a square grid; take another timm model"
                )
            self._stride = size // side
        elif raw.ndim != 4:
            raise TailwiseError(
                f"backbone {name!r} has no feature maps (its features have shape {list(raw.shape)}); "
                "take another timm model"
            )
        self.num_features = int(raw.shape[1] if raw.ndim == 4 and not self._channels_last else raw.shape[-1])
        _remove(self.model, unused)

    def forward_features(self, x: Tensor) -> Tensor:
        """``[B, 3, H, W]`` -> ``[B, D, h, w]``."""
        features: Tensor = self.model.forward_features(x)  # pyright: ignore[reportCallIssue]
        if features.ndim == 3:
            height, width = x.shape[2] // self._stride, x.shape[3] // self._stride
            return features[:, self._prefix_tokens :].transpose(1, 2).unflatten(2, (height, width))
        return features.permute(0, 3, 1, 2) if self._channels_last else features

    def forward_layers(self, x: Tensor, between: Between) -> Tensor:
        """The same, interrupted after each of the :attr:`layers`."""
        self._between = between
        try:
            return self.forward_features(x)
        finally:
            self._between = None

    def _after(self, layer: str, module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        return output if self._between is None else self._between(layer, output)


def _create(name: str, pretrained: bool, weights: str | None, image_size: int | None) -> nn.Module:
    import timm

    if weights is not None and not Path(weights).is_file():
        raise TailwiseError(f"backbone {name!r}: no weights file at {weights!r}")
    try:
        config = timm.get_pretrained_cfg(name)
        options: dict[str, Any] = {"num_classes": 0}
        # Models with a fixed number of patches must know the size; others have no such argument.
        if image_size is not None and config is not None and config.fixed_input_size:
            options["img_size"] = image_size
        if weights is None:
            return timm.create_model(name, pretrained=pretrained, **options)
        return _load(name, weights, options)
    except TailwiseError:
        raise
    except Exception as error:
        # timm, the hub client and the file formats have no common error; all of them mean that the name cannot be had.
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        if weights is not None:
            raise TailwiseError(f"backbone {name!r}: cannot use the weights in {weights!r}: {reason}") from error
        if pretrained:
            raise TailwiseError(
                f"backbone {name!r}: cannot fetch pretrained weights ({reason}). Without a connection, give a local "
                "file with `weights`, or start from random weights with `pretrained` off"
            ) from error
        raise TailwiseError(f"backbone {name!r}: {reason}") from error


def _load(name: str, weights: str, options: dict[str, Any]) -> nn.Module:
    """Builds twice from one random seed: a matrix that is equal in both was not in the file."""
    import timm

    overlay = {"file": weights, "hf_hub_id": None, "url": ""}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        blank = timm.create_model(name, pretrained=False, **options).state_dict()
        torch.manual_seed(0)
        model = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, **options)
    matrices = {key: value for key, value in model.state_dict().items() if value.ndim >= 2}
    missing = [key for key, value in matrices.items() if torch.equal(value, blank[key])]
    if len(missing) > len(matrices) // 2:
        raise TailwiseError(
            f"backbone {name!r}: the file {weights!r} has weights for only {len(matrices) - len(missing)} of "
            f"{len(matrices)} layers; missing are {', '.join(missing[:3])}, ..."
        )
    if missing:
        logger.warning("%s: no weights in %s for %s; they stay random", name, weights, ", ".join(missing))
    return model


def _stages(model: nn.Module) -> dict[str, nn.Module]:
    """The modules that timm describes as stages, by name; none for a model without such a description."""
    described: Any = getattr(model, "feature_info", None) or ()
    names = [item.get("module") for item in getattr(described, "info", described)]
    modules = dict(model.named_modules())
    return {name: modules[name] for name in names if name in modules}


def _probe(
    model: nn.Module, name: str, size: int, stages: dict[str, nn.Module]
) -> tuple[Tensor, set[str], dict[str, int]]:
    """The features of one blank image, the names of the parameters that they do not depend on, and how often each
    stage returned a tensor.
    """
    parameters = dict(model.named_parameters())
    training = model.training
    model.eval()
    calls = dict.fromkeys(stages, 0)

    def count(stage: str, module: nn.Module, inputs: Any, output: Any) -> None:
        calls[stage] += isinstance(output, Tensor)

    hooks = [module.register_forward_hook(functools.partial(count, stage)) for stage, module in stages.items()]
    try:
        with torch.enable_grad():
            image = torch.zeros(1, 3, size, size, device=next(iter(parameters.values())).device)
            features = model.forward_features(image)  # pyright: ignore[reportCallIssue]
            if not isinstance(features, Tensor):
                raise TailwiseError(f"backbone {name!r} has no feature maps but {type(features).__name__}")
            found = torch.autograd.grad(features.sum(), list(parameters.values()), allow_unused=True)
            gradients = cast("tuple[Tensor | None, ...]", found)
    except (AssertionError, RuntimeError, ValueError, IndexError, AttributeError, NotImplementedError) as error:
        raise TailwiseError(
            f"backbone {name!r} gives no features for images of {size} x {size} pixels ({error}); "
            "take another image size or another timm model"
        ) from error
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    unused = {key for key, gradient in zip(parameters, gradients, strict=True) if gradient is None}
    return features.detach(), unused, calls


def _remove(model: nn.Module, unused: set[str]) -> None:
    """Takes out what only timm's own head needs: parameters without a gradient stop distributed training."""
    for key, child in list(model.named_children()):
        names = {f"{key}.{name}" for name, _ in child.named_parameters()}
        if names and names <= unused:
            setattr(model, key, nn.Identity())
    for key, parameter in model.named_parameters():
        if key in unused:
            parameter.requires_grad_(False)
