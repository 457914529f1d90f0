"""Independent random streams named by their purpose, so that randomness is data and a run resumes anywhere."""

from __future__ import annotations

import zlib

import numpy as np


def generator(seed: int, *path: int | str) -> np.random.Generator:
    """A generator that depends only on the seed and the path, e.g. ``generator(seed, stage, epoch, "crop")``.

    Args:
        seed: The recipe's seed, 0 or more.
        path: Stage number, epoch number and purpose; strings enter by their CRC-32.
    """
    words = [zlib.crc32(part.encode()) if isinstance(part, str) else int(part) for part in path]
    return np.random.default_rng(np.random.SeedSequence((int(seed), *words)))
