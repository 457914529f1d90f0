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
from tailwise.augment.rotation import four_turns
from tailwise.core.errors import TailwiseError, UnknownName
from tailwise.core.stats import ClassStats
from tailwise.core.types import Batch, MixedTarget, Part, ReduceSum, Target
from tailwise.data.plan import Facts
from tailwise.engine.class_losses import CLASS_LOSSES, class_losses
from tailwise.engine.recipe import Recipe, Stage
from tailwise.heads.base import HeadModule
from tailwise.heads.experts import check_same_experts
from tailwise.models.aside import aside
from tailwise.models.backbone import Backbone, build_backbone
from tailwise.models.network import Network


class Inputs(NamedTuple):
    """What goes into the backbone, and what its rows are to be compared with.

    Attributes:
        image: Float ``[B,3,H,W]``, all streams one after the other, then the views that share their pass.
        targets: By stream and view, before feature augmentation.
        rows: First and last row (exclusive) by stream and view, in the features of all passes one after the other.
        apart: Images ``[B',3,H,W]`` of the views that have a forward pass of their own.
    """

    image: Tensor
    targets: dict[str, Target]
    rows: dict[str, tuple[int, int]]
    apart: tuple[Tensor, ...] = ()


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
        #: Streams that show every image in four turns.
        self.turned: frozenset[str] = frozenset()
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
            experts=spec.experts,
            reduced=spec.reduced,
        )

    def new_head(self, backbone: nn.Module) -> HeadModule:
        """A freshly initialised head for a backbone.

        Raises:
            TailwiseError: The head has another number of experts than the backbone.
        """
        check_same_experts(self.recipe.head, backbone)
        return self.recipe.head.build(cast(int, backbone.num_features), self.stats.num_classes, self.stats)

    def check(self, stage: Stage) -> None:
        """Refuses a stage that reads logits which the head does not give, or acts where the backbone cannot be entered.

        Raises:
            UnknownName: Names the head or the layer that was asked for and those that there are.
            TailwiseError: The stage mixes images and features, so that labels would be mixed twice; or it trains
                only some of a head's branches.
            DataError: An objective cannot be computed for these class counts.
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
            for name in objective.reads(self.network.head.names):
                if name not in self.network.head.names:
                    raise UnknownName("head output", name, self.network.head.names)
            branches = self.network.head.branches
            read = [name for name in branches if name in objective.reads(self.network.head.names)]
            if read and len(read) < len(branches):
                raise TailwiseError(
                    f"the head has {len(branches)} branches and objective {objective.name!r} trains {len(read)} of "
                    "them; give both the same number"
                )
            objective.bind(self.stats)

    def enter(self, stage: Stage) -> None:
        """Puts the components of a stage into the slots."""
        self.mix = None if stage.mix is None else stage.mix.bind(self.stats)
        # Those with a pass of their own come last, as their features do.
        self.views, self.feature_aug = tuple(sorted(stage.views, key=lambda view: view.apart)), stage.feature_aug
        self.stream_names = tuple(stage.streams)
        self.turned = frozenset(name for name, stream in stage.streams.items() if stream.four_turns)
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
            maps = self.network.maps(inputs.image)
        else:
            backbone = cast(Backbone, self.network.backbone)
            maps = backbone.forward_layers(
                inputs.image, lambda layer, x: self.at_place(layer, x, inputs.targets, batch)
            )
        if inputs.apart:
            network = self.network
            maps = torch.cat([maps, *(aside(network.backbone, network.maps, image) for image in inputs.apart)])
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
            if name in self.turned:
                image, targets[name] = four_turns(image, targets[name])
            images.append(image)
            rows[name] = (first, first + image.shape[0])
            first += image.shape[0]
        apart: list[Tensor] = []
        streams = len(images)
        for view in self.views:
            image, targets[view.stream] = view(torch.cat(images[:streams]), batch[view.stream])
            (apart if view.apart else images).append(image)
            rows[view.stream] = (first, first + image.shape[0])
            first += image.shape[0]
        image = images[0] if len(images) == 1 else torch.cat(images)
        return Inputs(self.at_place("input", image, targets, batch), targets, rows, tuple(apart))

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
            value over processes), ``parts`` the same by name and what the feature augmentation counted (and, when the
            run asks for it, sums by class under :data:`~tailwise.engine.class_losses.CLASS_LOSSES`), ``hits`` of the
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
        shown = (
            {**outputs, "features": self.network.head.embed(HeadModule.pool(maps))} if self.needs_features else outputs
        )
        parts: dict[str, Part] = {}
        for objective in self.objectives:
            parts.update(objective(shown, targets, inputs.rows))
        outcome: dict[str, Any] = {**self._total(parts, counts), **self._hits(outputs, targets, inputs.rows)}
        if self.recipe.run.class_losses:
            first = self.stream_names[0]
            start, end = inputs.rows[first]
            logits = self.network.head.predict({name: value[start:end] for name, value in outputs.items()})
            outcome["parts"] = {**outcome["parts"], CLASS_LOSSES: class_losses(logits, targets[first])}
        return outcome

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
