"""The whole training step as one module: what DDP wraps, what is compiled, what a graph captures.

Legend: B batch (all streams together), C classes, D feature width, h w map size.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from tailwise.augment.base import BoundGenerate, FeatureAug, View
from tailwise.augment.pixel import Pixel
from tailwise.core.errors import TailwiseError, UnknownName
from tailwise.core.stats import ClassStats
from tailwise.core.types import Batch, MixedTarget, Part, ReduceSum, Target
from tailwise.data.plan import Facts
from tailwise.engine.recipe import Recipe, Stage
from tailwise.heads.base import HeadModule
from tailwise.models.backbone import Backbone, build_backbone
from tailwise.models.network import Network


class Inputs(NamedTuple):
    """What goes into the backbone, and what its rows are to be compared with.

    Attributes:
        image: Float ``[B,3,H,W]``, all streams one after the other.
        targets: By stream, before feature augmentation.
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
        #: The bound mix of the stage; a module, because it may hold class terms.
        self.mix: nn.Module | None = None
        self.views: tuple[View, ...] = ()
        self.feature_aug: FeatureAug | None = None
        self.stream_names: tuple[str, ...] = ()
        #: By stream, where images are generated.
        self.generates: dict[str, BoundGenerate] = {}
        self.objectives = nn.ModuleList()
        self.needs_features = False
        #: Whether the stage's batches hold feature maps instead of images.
        self.reads_bank = False
        #: What the draws of the stage depend on, the classifier ``[C,D]`` with which it began, and class activation
        #: maps ``[N,h,w]`` of all training images; where something reads them. Put there when the stage begins.
        self.facts: Facts | None = None
        self.classifier: Tensor | None = None
        self.cams: Tensor | None = None

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
        """Refuses a stage that reads logits which the head does not give, or acts where the backbone cannot be entered.

        Raises:
            UnknownName: Names the head or the layer that was asked for and those that there are.
            TailwiseError: The stage mixes images and features, so that labels would be mixed twice.
        """
        if stage.feature_aug is not None:
            known = ("input", *self.layers, "pool", "fc")
            for place in stage.feature_aug.places:
                if place not in known:
                    raise UnknownName(f"layer of backbone {self.recipe.backbone.name!r}", place, known)
            if stage.mix is not None and stage.feature_aug.mixes_labels:
                raise TailwiseError(
                    f"a stage can mix labels once only: give it mix {stage.mix.name!r} or feature_aug "
                    f"{stage.feature_aug.name!r}, not both"
                )
        for objective in stage.objective:
            for name in objective.heads:
                if name not in self.network.head.names:
                    raise UnknownName("head output", name, self.network.head.names)

    def enter(self, stage: Stage) -> None:
        """Puts the components of a stage into the slots."""
        self.mix = None if stage.mix is None else stage.mix.bind(self.stats)
        self.views, self.feature_aug = stage.views, stage.feature_aug
        self.stream_names = tuple(stage.streams)
        self.generates = {
            name: stream.generate.bind() for name, stream in stage.streams.items() if stream.generate is not None
        }
        self.objectives = nn.ModuleList([objective.bind(self.stats) for objective in stage.objective])
        self.needs_features = any(getattr(objective, "needs_features", False) for objective in self.objectives)

    @property
    def layers(self) -> tuple[str, ...]:
        """Layers of the backbone after which something can act."""
        backbone = self.network.backbone
        return backbone.layers if isinstance(backbone, Backbone) else ()

    @property
    def entered(self) -> tuple[str, ...]:
        """Those of the :attr:`layers` after which the stage's feature augmentation acts."""
        places = () if self.feature_aug is None else self.feature_aug.places
        return tuple(layer for layer in self.layers if layer in places)

    def forward(self, batch: Batch) -> dict[str, Any]:
        """One step on this process's share of the global batch; see :meth:`outcome` for what comes back."""
        inputs = self.inputs(batch)
        if self.reads_bank:
            return self.outcome(inputs.image, inputs, batch)
        if not self.entered:
            return self.outcome(self.network.maps(inputs.image), inputs, batch)
        backbone = cast(Backbone, self.network.backbone)
        maps = backbone.forward_layers(inputs.image, lambda layer, x: self.at_place(layer, x, inputs.targets, batch))
        return self.outcome(maps, inputs, batch)

    def inputs(self, batch: Batch) -> Inputs:
        """Everything before the backbone: pixels, mix and views of all streams, one after the other.

        With :attr:`reads_bank` the image is what the backbone gave of it.
        """
        images: list[Tensor] = []
        targets: dict[str, Target] = {}
        rows: dict[str, tuple[int, int]] = {}
        first = 0
        for name in self.stream_names:
            stream = batch[name]
            image = stream["maps"] if self.reads_bank else self.network.pixel.augment(stream, self.generates.get(name))
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
        image = images[0] if len(images) == 1 else torch.cat(images)
        return Inputs(self.at_place("input", image, targets, batch), targets, rows)

    def at_place(self, place: str, x: Tensor, targets: Mapping[str, Target], batch: Batch) -> Tensor:
        """What the stage's feature augmentation makes of ``x`` at this place; ``x`` itself where it does not act.

        Args:
            place: ``"input"``, a layer of the backbone, or ``"fc"``.
            x: What stands there, ``B`` first.
            targets: By stream, before feature augmentation.
            batch: The batch.
        """
        if self.feature_aug is None or place not in self.feature_aug.places:
            return x
        return self.feature_aug.at_place(place, x, targets, self._row(batch))

    def _row(self, batch: Batch) -> Mapping[str, Tensor]:
        """The feature augmentation's draws, with the images' class activation maps where it needs them."""
        row = batch["feature_aug"]
        if self.cams is None or self.feature_aug is None or not self.feature_aug.needs_maps:
            return row
        return {**row, "cam": torch.cat([self.cams[batch[name]["index"]] for name in self.stream_names])}

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
            value over processes), ``parts`` the same by name and what the feature augmentation counted, ``hits`` of the
            first stream.
        """
        targets = inputs.targets
        counts: dict[str, Tensor] = {}
        if outputs is None:
            if self.feature_aug is not None:
                weight = self.network.head.classifier_weight if self.classifier is None else self.classifier
                maps, targets, counts = self.feature_aug.counted(maps, targets, weight, self._row(batch))
            outputs = cast(dict[str, Tensor], self.network.head(maps))
            outputs = {name: self.at_place("fc", value, inputs.targets, batch) for name, value in outputs.items()}
        shown = {**outputs, "features": HeadModule.pool(maps)} if self.needs_features else outputs
        parts: dict[str, Part] = {}
        for objective in self.objectives:
            parts.update(objective(shown, targets, inputs.rows))
        return {**self._total(parts, counts), **self._hits(outputs, targets, inputs.rows)}

    def _total(self, parts: Mapping[str, Part], counts: Mapping[str, Tensor]) -> dict[str, Any]:
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
        counted = {name: value.detach().float() for name, value in counts.items()}
        return {"loss": loss, "total": total.detach(), "parts": {**detached, **counted}}

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
