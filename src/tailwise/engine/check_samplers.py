"""Whether the samplers of a recipe can draw from these classes."""

from __future__ import annotations

from tailwise.core.errors import TailwiseError
from tailwise.core.stats import ClassStats
from tailwise.engine.recipe import Recipe


def check_samplers(recipe: Recipe, stats: ClassStats) -> list[str]:
    """Asks every sampler of every stage before anything is trained.

    Args:
        recipe: Its streams.
        stats: The class counts of the training images.

    Returns:
        What a person should know, a sentence each and each of them once.

    Raises:
        TailwiseError: A sampler cannot draw from these classes or for this stage; names stage and stream.
    """
    notes: list[str] = []
    for number, stage in enumerate(recipe.stages):
        earlier: dict[str, int] = {}
        for name, stream in stage.streams.items():
            try:
                notes += stream.sampler.check(stats, stream.batch, earlier)
            except TailwiseError as error:
                raise TailwiseError(f"stage {number}, stream {name!r}: {error}") from error
            earlier[name] = stream.batch
    return list(dict.fromkeys(notes))
