"""The whole training step as one module: what DDP wraps, what is compiled, what a graph captures.

Legend: B batch (all streams together), C classes, D feature width, h w map size.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from tailwise.augment.base import FeatureAug, Mix, View
from tailwise.augment.pixel import Pixel
from tailwise.core.errors import UnknownName
from tailwise.core.stats import ClassStats
from tailwise.core.types import Batch, MixedTarget, Part, ReduceSum, Target
from tailwise.engine.recipe import Recipe, Stage
from tailwise.heads.base import HeadModule
from tailwise.models.backbone import build_backbone
from tailwise.models.network import Network


class Inputs(NamedTuple):
    """What goes into the backbone, and what its rows are to be compared with.

    Attributes:
        image: Float ``[B,3,H,W]``, all streams one after the other.
        targets: By stream.
        rows: First and last row (exclusive) by stream.
    """

    image: Tensor
    targets: dict[str, Target]
    rows: dict[str, tuple[int, int]]


class Task(nn.Module):
    """Pixels -> mix -> views -> backbone -> feature augmentation -> head -> objective.

    One task lives through all stages of a run; :meth:`enter` puts a stage's components into the slots.

    Args:
        recipe: Backbone, head and pixel constants.
        stats: Class counts of the training index.
        reduce_sum: Sums denominators over processes.
        world: Number of processes.
    """

    def __init__(self, recipe: Recipe, stats: ClassStats, reduce_sum: ReduceSum | None = None, world: int = 1) -> None:
        super().__init__()
        self.recipe, self.stats, self.world = recipe, stats, world
        self.reduce_sum: ReduceSum = reduce_sum or _identity
        pixel = Pixel(recipe.data.padding, recipe.data.mean, recipe.data.std)
        backbone = self.new_backbone()
        self.network = Network(pixel, backbone, self.new_head(backbone))
        self.mix: Mix | None = None
        self.views: tuple[View, ...] = ()
        self.feature_aug: FeatureAug | None = None
        self.stream_names: tuple[str, ...] = ()
        self.objectives = nn.ModuleList()

    def new_backbone(self) -> nn.Module:
        """A freshly initialised backbone."""
        spec = self.recipe.backbone
        return build_backbone(
            spec.name,
            width=spec.width,
            pretrained=spec.pretrained,
            weights=spec.weights,
            image_size=self.recipe.data.image_size,
        )

    def new_head(self, backbone: nn.Module) -> HeadModule:
        """A freshly initialised head for a backbone."""
        return self.recipe.head.build(cast(int, backbone.num_features), self.stats.num_classes, self.stats)

    def check(self, stage: Stage) -> None:
        """Refuses a stage that reads logits which the head does not give.

        Raises:
            UnknownName: Names the head that was asked for and those that there are.
        """
        for objective in stage.objective:
            for name in objective.heads:
                if name not in self.network.head.names:
                    raise UnknownName("head output", name, self.network.head.names)

    def enter(self, stage: Stage) -> None:
        """Puts the components of a stage into the slots."""
        self.mix, self.views, self.feature_aug = stage.mix, stage.views, stage.feature_aug
        self.stream_names = tuple(stage.streams)
        self.objectives = nn.ModuleList([objective.bind(self.stats) for objective in stage.objective])

    def forward(self, batch: Batch) -> dict[str, Any]:
        """One step on this process's share of the global batch; see :meth:`outcome` for what comes back."""
        inputs = self.inputs(batch)
        return self.outcome(self.network.maps(inputs.image), inputs, batch)

    def inputs(self, batch: Batch) -> Inputs:
        """Everything before the backbone: pixels, mix and views of all streams, one after the other."""
        images: list[Tensor] = []
        targets: dict[str, Target] = {}
        rows: dict[str, tuple[int, int]] = {}
        first = 0
        for name in self.stream_names:
            stream = batch[name]
            image = self.network.pixel.augment(stream)
            targets[name] = stream["label"]
            if self.mix is not None and name == self.stream_names[0]:
                image, targets[name] = self.mix(image, stream["label"], batch["mix"])
            images.append(image)
            rows[name] = (first, first + image.shape[0])
            first += image.shape[0]
        for view in self.views:
            image, targets[view.stream] = view(torch.cat(images), batch[view.stream])
            images.append(image)
            rows[view.stream] = (first, first + image.shape[0])
            first += image.shape[0]
        return Inputs(images[0] if len(images) == 1 else torch.cat(images), targets, rows)

    def outcome(
        self, maps: Tensor, inputs: Inputs, batch: Batch, outputs: Mapping[str, Tensor] | None = None
    ) -> dict[str, Any]:
        """Everything after the backbone.

        Args:
            maps: Feature maps ``[B,D,h,w]`` of the inputs.
            inputs: What :meth:`inputs` returned.
            batch: The batch.
            outputs: Logits by name where the head has run already.

        Returns:
            ``loss`` to call backward on (scaled so that averaging gradients over processes gives the gradient of the
            global objective), ``total`` the value of the global objective's share of this process (sums to the global
            value over processes), ``parts`` the same by name, ``hits`` of the first stream.
        """
        targets = inputs.targets
        if outputs is None:
            if self.feature_aug is not None:
                weight = self.network.head.classifier_weight
                maps, targets = self.feature_aug(maps, targets, weight, batch["feature_aug"])
            outputs = cast(dict[str, Tensor], self.network.head(maps))
        parts: dict[str, Part] = {}
        for objective in self.objectives:
            parts.update(objective(outputs, targets, inputs.rows))
        return {**self._total(parts), **self._hits(outputs, targets, inputs.rows)}

    def _total(self, parts: Mapping[str, Part]) -> dict[str, Any]:
        denominators = torch.stack([part.denominator.detach().float() for part in parts.values()])
        denominators = self.reduce_sum(denominators).clamp_min(1e-12)
        shares = {
            name: part.weight * part.numerator / denominators[number]
            for number, (name, part) in enumerate(parts.items())
        }
        total = torch.stack(list(shares.values())).sum()
        detached = {name: share.detach() for name, share in shares.items()}
        # Not times one: PyTorch 2.15's compiler drops that product, and with it the gradient, for the detached twin.
        loss = total if self.world == 1 else total * self.world
        return {"loss": loss, "total": total.detach(), "parts": detached}

    def _hits(
        self, outputs: Mapping[str, Tensor], targets: Mapping[str, Target], rows: Mapping[str, tuple[int, int]]
    ) -> dict[str, Tensor]:
        name = self.stream_names[0]
        target, (start, end) = targets[name], rows[name]
        label = target.first if isinstance(target, MixedTarget) else target
        guess = self.network.head.predict({key: value[start:end] for key, value in outputs.items()}).detach().argmax(1)
        return {"hits": (guess == label).sum()}


def _identity(value: Tensor) -> Tensor:
    return value
