"""EpochPlan: every index and every random draw of one epoch as arrays, made before the epoch and sliced by rank.

Both data paths read the same plan, so they see the same batches; the number of workers cannot matter; and an epoch
can be entered at any step.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tailwise.augment.auto_policy import draw_auto
from tailwise.augment.color_jitter import draw_jitter
from tailwise.augment.crop_resize import draw_boxes
from tailwise.core.errors import RunError
from tailwise.core.rng import generator
from tailwise.core.stats import ClassStats

if TYPE_CHECKING:
    from tailwise.engine.recipe import Data, Stage


@dataclass(frozen=True, eq=False)
class StreamPlan:
    """What one stream shows in an epoch; S steps, B images a step (of this rank, after slicing).

    Attributes:
        index: int64 ``[S,B]``, positions in the training index.
        crop: int64 ``[S,B,2]``, top and left offset in the padded image.
        flip: bool ``[S,B]``.
        item_seed: int64 ``[S,B]``, seeds of the per-image transforms of the host path.
        box: int64 ``[S,B,4]``, top, left, height and width of a random resized crop of packed images, or None.
        jitter: float32 ``[S,B,3]``, factors of brightness, contrast and saturation for packed images, or None.
        jitter_order: int64 ``[S,B,3]``, the order of the three, or None.
        transform: int64 ``[S,B]``, how a generated image is made from its source, 0 for an image as it is, or None.
        amount: float32 ``[S,B,2]``, how far, in [0, 1), or None.
        auto_operation: int64 ``[S,B,2]``, the two operations of AutoAugment, or None.
        auto_magnitude: float32 ``[S,B,2]``, their strengths, or None.
    """

    index: NDArray[np.int64]
    crop: NDArray[np.int64]
    flip: NDArray[np.bool_]
    item_seed: NDArray[np.int64]
    box: NDArray[np.int64] | None = None
    jitter: NDArray[np.float32] | None = None
    jitter_order: NDArray[np.int64] | None = None
    transform: NDArray[np.int64] | None = None
    amount: NDArray[np.float32] | None = None
    auto_operation: NDArray[np.int64] | None = None
    auto_magnitude: NDArray[np.float32] | None = None

    def device_arrays(self, labels: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """Everything that the device reads of this stream: name -> array ``[S,B,...]``.

        Args:
            labels: Of the training index, int64 ``[N]``.

        Returns:
            ``index``, ``label``, ``crop`` and ``flip``, and those of the optional arrays that were drawn. The seeds of
            the host path's transforms stay on the host.
        """
        kept = {name: array for name, array in self._arrays().items() if name != "item_seed"}
        return {"label": labels[self.index], **kept}

    def rank_slice(self, rank: int, world: int) -> StreamPlan:
        """Columns ``rank::world`` of every array."""
        return StreamPlan(**{name: array[:, rank::world] for name, array in self._arrays().items()})

    def without_auto_augment(self) -> StreamPlan:
        """The same without AutoAugment, for a device that gets images to which it was done."""
        return dataclasses.replace(self, auto_operation=None, auto_magnitude=None)

    def _arrays(self) -> dict[str, NDArray[Any]]:
        arrays = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: array for name, array in arrays.items() if array is not None}


@dataclass(frozen=True, eq=False)
class Facts:
    """What was found out when a stage began and its draws depend on.

    Attributes:
        confusing: For every class the classes it is confused with, int64 ``[C,N_f]``, or None.
        positions: ``h w`` of the maps that the feature augmentation changes, or None.
    """

    confusing: NDArray[np.int64] | None = None
    positions: int | None = None


@dataclass(frozen=True, eq=False)
class EpochPlan:
    """One epoch: a plan for every stream, and the draws of the stage's augmentation slots by slot name."""

    streams: Mapping[str, StreamPlan]
    draws: Mapping[str, Mapping[str, NDArray[Any]]]

    @property
    def steps(self) -> int:
        """Number of steps S."""
        return next(iter(self.streams.values())).index.shape[0]

    def rank_slice(self, rank: int, world: int) -> EpochPlan:
        """The share of one process: columns ``rank::world``; draws given once a step stay whole."""
        draws = {
            slot: {name: array[:, rank::world] if array.ndim > 1 else array for name, array in arrays.items()}
            for slot, arrays in self.draws.items()
        }
        return EpochPlan({name: plan.rank_slice(rank, world) for name, plan in self.streams.items()}, draws)


def steps_per_epoch(stage: Stage, num_images: int) -> int:
    """Steps of one epoch: what the stage says, or images over the first stream's batch (at least one)."""
    if stage.steps_per_epoch is not None:
        return stage.steps_per_epoch
    batch = next(iter(stage.streams.values())).batch
    return max(1, num_images // batch if stage.last_batch == "drop" else -(-num_images // batch))


def make_plan(
    stage: Stage,
    data: Data,
    labels: NDArray[np.int64],
    stats: ClassStats,
    *,
    seed: int,
    stage_number: int,
    epoch: int,
    progress: float,
    steps: int,
    sizes: NDArray[np.int64] | None = None,
    facts: Facts | None = None,
) -> EpochPlan:
    """The plan of one epoch over the whole global batch.

    Args:
        stage: Streams and augmentation slots.
        data: Padding, flip probability, AutoAugment's policy.
        labels: Of the training index, int64 ``[N]``.
        stats: Class counts of these labels.
        seed: The recipe's seed; with ``stage_number`` and ``epoch`` it fixes every draw.
        stage_number: From 0.
        epoch: Within the stage, from 0.
        progress: Share of the stage that is done, in [0, 1]; all a sampler learns of time.
        steps: Number of steps S.
        sizes: Height and width of the training index's images as they are packed, ``[N,2]``, when random resized
            crops and colour jitter happen on the device; None when the host path's workers draw them.
        facts: Of the beginning of the stage, where its draws depend on them.
    """
    facts = facts or Facts()

    def rng(purpose: str) -> np.random.Generator:
        return generator(seed, stage_number, epoch, purpose)

    streams: dict[str, StreamPlan] = {}
    shown: dict[str, NDArray[np.int64]] = {}
    plain = stage.images == "plain"
    for name, stream in stage.streams.items():
        shape = (steps, stream.batch)
        index = stream.sampler.draw_beside(shown, shape, labels, stats, progress, rng(f"{name}/index"), facts.confusing)
        cropped = data.augmentation == "pad_crop" and not plain
        index = shown[name] = np.asarray(index, dtype=np.int64).reshape(shape)
        on_device: dict[str, Any] = {}
        if stream.generate is not None:
            # What is drawn once and for all has a generator without stage and epoch.
            once = generator(seed, f"{name}/generated")
            index, on_device = stream.generate.draw(index, labels, stats, rng(f"{name}/generate"), once)
        if sizes is not None:
            whole = np.concatenate([np.zeros_like(sizes[index]), sizes[index]], axis=-1)
            on_device["box"] = whole if plain else draw_boxes(sizes[index], rng(f"{name}/box"))
            if data.color_jitter and not plain:
                on_device["jitter"], on_device["jitter_order"] = draw_jitter(
                    shape, data.color_jitter, rng(f"{name}/jitter"), rng(f"{name}/jitter order")
                )
        if data.auto_augment is not None:
            drawn = draw_auto(data.auto_augment, shape, data.image_size, rng(f"{name}/auto augment"))
            on_device["auto_operation"], on_device["auto_magnitude"] = drawn
        streams[name] = StreamPlan(
            index=index,
            crop=rng(f"{name}/crop").integers(0, 2 * data.padding + 1, (*shape, 2))
            if cropped
            else np.full((*shape, 2), data.padding, np.int64),
            flip=rng(f"{name}/flip").random(shape) < (data.flip if data.augmentation != "none" and not plain else 0.0),
            item_seed=rng(f"{name}/item").integers(0, 2**62, shape),
            **on_device,
        )
    draws: dict[str, Mapping[str, NDArray[Any]]] = {}
    main, total = next(iter(stage.streams.values())).batch, sum(stream.batch for stream in stage.streams.values())
    if stage.mix is not None:
        draws["mix"] = stage.mix.draw(rng("mix"), steps, main)
    for view in stage.views:
        draws[view.stream] = view.draw(rng(f"view/{view.stream}"), steps, total)
    if stage.feature_aug is not None:
        drawer, places = rng("feature_aug"), facts.positions
        draws["feature_aug"] = (
            stage.feature_aug.draw(drawer, steps, total)
            if places is None
            else stage.feature_aug.draw_for(drawer, steps, total, places)
        )
    return EpochPlan(streams, draws)


def check_batches(stage: Stage, world: int) -> None:
    """Refuses a global batch that the processes cannot share evenly.

    Raises:
        RunError: Names the stream, its batch, the number of processes and the nearest batch that works.
    """
    for name, stream in stage.streams.items():
        if stream.batch % world:
            near = max(world, round(stream.batch / world) * world)
            raise RunError(
                f"stream {name!r} has a global batch of {stream.batch}, which {world} processes cannot share evenly; "
                f"the nearest batch that works is {near}"
            )
