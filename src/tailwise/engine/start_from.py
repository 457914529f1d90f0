"""Weight files that stages begin with, looked at before a run starts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from safetensors import safe_open

from tailwise.core.errors import RunError
from tailwise.engine.recipe import Stage
from tailwise.models.network import Network


def check_start_from(stages: Sequence[Stage], network: Network, first: int = 0) -> None:
    """Refuses a recipe whose stages could not load the weights that they begin with. Only names and shapes are read.

    Finished runs are saved without auxiliary heads, so weights of the network without them are enough.

    Args:
        stages: All stages of the recipe.
        network: What the weights are for.
        first: The first stage that has not begun yet; those before it need their files no more.

    Raises:
        RunError: Names the stage, the file, and what is wrong with it.
    """
    for number, stage in enumerate(stages):
        if number < first or stage.start_from is None:
            continue
        path = Path(stage.start_from)
        where = f"stage {number} starts from {path}"
        if not path.is_file():
            hint = (
                "the model.safetensors of a run" if not path.is_dir() else f"for example {path / 'model.safetensors'}"
            )
            raise RunError(f"{where}, which is no file; give --stages.{number}.start-from {hint}")
        try:
            with safe_open(path, framework="pt") as file:  # pyright: ignore[reportUnknownVariableType]
                found = {name: list(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        except Exception as error:  # the library raises a class of its own for damaged files
            raise RunError(f"{where}, which is not a complete safetensors file ({error})") from error
        whole = part_with(found, network).state_dict()
        wanted = {name: list(value.shape) for name, value in whole.items()}
        for name in [*wanted, *found]:
            if wanted.get(name) != found.get(name):
                raise RunError(
                    f"{where}, which is of another network: {name} is {_shape(found.get(name))} there and "
                    f"{_shape(wanted.get(name))} in the recipe's network"
                )


def part_with(names: Iterable[str], network: Network) -> Network:
    """What weights of these names are for: the network, or the network without auxiliary heads."""
    bare = network.for_inference()
    return bare if set(names) == set(bare.state_dict()) else network


def _shape(shape: list[int] | None) -> str:
    return "absent" if shape is None else str(shape)
