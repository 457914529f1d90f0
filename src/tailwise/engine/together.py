"""Which runs train side by side, and how many of them."""

from __future__ import annotations

import copy
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from tailwise.engine.checkpoint import Checkpoints
from tailwise.engine.prepare import Prepared
from tailwise.engine.recipe import Recipe
from tailwise.engine.run_folder import RunFolder
from tailwise.engine.span import spans
from tailwise.models.backbone import backbone_names
from tailwise.models.network import Network

#: Stacked models gain little beyond this number; models on streams of their own, which share nothing, stop earlier.
MOST_STACKED, MOST_STREAMS = 16, 4
#: Share of the free memory that side-by-side training may plan with.
SHARE = 0.6


@dataclass(frozen=True, eq=False)
class Job:
    """One run to train.

    Attributes:
        number: Its place in the list of wishes.
        recipe: With its data fingerprint.
        prepared: Its data.
        folder: Where it goes.
    """

    number: int
    recipe: Recipe
    prepared: Prepared
    folder: RunFolder


def shape_of(job: Job) -> Hashable:
    """Jobs with equal values can go through the loop in lockstep.

    They agree in data, backbone, precision, the run's settings, the position they start from, and the shape of every
    epoch: steps, batch of every stream, views. Seeds, losses, samplers, heads, optimisers and the places where stages
    begin may differ.
    """
    recipe = job.recipe
    epochs: list[tuple[int, Hashable]] = []
    for stage, span in zip(recipe.stages, spans(recipe.stages, job.prepared.index.stats.num_images), strict=True):
        form = (tuple((stream.batch, stream.four_turns) for stream in stage.streams.values()), repr(stage.views))
        short = span.steps_in(span.epochs - 1)
        lengths = [(span.epochs, span.steps_per_epoch)]
        if short != span.steps_per_epoch:
            lengths = [(span.epochs - 1, span.steps_per_epoch), (1, short)]
        for count, steps in lengths:
            if epochs and epochs[-1][1] == (steps, form):
                epochs[-1] = (epochs[-1][0] + count, epochs[-1][1])
            elif count:
                epochs.append((count, (steps, form)))
    newest = Checkpoints(job.folder.path).newest()
    place = "" if newest is None else newest.name
    run = replace(recipe.run, folder=None)
    return repr((recipe.data, recipe.backbone, recipe.precision, recipe.evaluate, run, place, epochs))


def group(jobs: Sequence[Job]) -> list[list[Job]]:
    """Jobs that can go in lockstep, in the order of their first members."""
    found: dict[Hashable, list[Job]] = {}
    for job in jobs:
        found.setdefault(shape_of(job), []).append(job)
    return list(found.values())


def split_evenly(jobs: Sequence[Job], most: int) -> list[list[Job]]:
    """Parts of at most so many jobs, of nearly equal length."""
    parts = -(-len(jobs) // most)
    return [list(jobs[len(jobs) * part // parts : len(jobs) * (part + 1) // parts]) for part in range(parts)]


def most_that_fit(network: Network, recipe: Recipe, free: int) -> int:
    """How many runs of a recipe to train side by side.

    Args:
        network: One of the recipe's networks.
        recipe: Its largest stage's batch counts.
        free: Bytes of free device memory.

    Returns:
        At least 1.
    """
    images = max(stage.images_per_step for stage in recipe.stages)
    needed = training_bytes(network, images, recipe.data.image_size, {"fp64": 8, "fp32": 4}.get(recipe.precision, 2))
    own = recipe.backbone.name in backbone_names()
    return max(1, min(MOST_STACKED if own else MOST_STREAMS, int(SHARE * free / needed)))


def training_bytes(network: Network, images: int, size: int, width: int) -> int:
    """An estimate of the memory that training one network takes.

    Args:
        network: Counted on the meta device: nothing is computed.
        images: Images a step.
        size: Height and width.
        width: Bytes of an activation.

    Returns:
        Weights, gradients and two states of the optimiser in the weights' type, and twice every layer's output: once
        for the backward pass, once for what the layers in between and the allocator need.
    """
    outputs = 0

    def count(module: nn.Module, arguments: Any, output: Any) -> None:
        nonlocal outputs
        if isinstance(output, Tensor) and not list(module.children()):
            outputs += output.numel()

    meta = copy.deepcopy(network).to("meta")
    for module in meta.modules():
        module.register_forward_hook(count)
    with torch.no_grad():
        meta.maps(torch.zeros(images, 3, size, size, device="meta"))
    weights = sum(parameter.numel() * parameter.element_size() for parameter in network.parameters())
    return 4 * weights + 2 * width * outputs
