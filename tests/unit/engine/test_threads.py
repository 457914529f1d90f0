from __future__ import annotations

import dataclasses

import pytest
import torch

from tailwise.engine.recipe import Run
from tailwise.engine.threads import cpu_threads
from tests.helpers import tiny_recipe


@pytest.mark.parametrize(
    ("size", "threads", "variable", "expected"),
    [(8, None, None, 1), (8, 3, None, 3), (32, None, None, 2), (8, None, "2", 2)],
)
def test_tiny_images_use_one_thread_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, size: int, threads: int | None, variable: str | None, expected: int
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if variable is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", variable)
    recipe = tiny_recipe()
    recipe = dataclasses.replace(
        recipe,
        data=dataclasses.replace(recipe.data, image_size=size),
        run=dataclasses.replace(recipe.run, threads=threads),
    )
    torch.set_num_threads(2)
    try:
        with cpu_threads(recipe) as used:
            assert used == expected == torch.get_num_threads()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


def test_no_threads_are_refused() -> None:
    with pytest.raises(ValueError, match="threads must be at least 1, got 0"):
        Run(threads=0)
