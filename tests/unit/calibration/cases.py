"""Logits of a made-up long-tailed problem, and hypothesis strategies for small ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

PRIOR = np.array([0.6, 0.25, 0.1, 0.05])


def draw(num_images: int, prior: Any = PRIOR, seed: int = 0, sharpness: float = 1.0) -> tuple[Any, NDArray[np.int64]]:
    """Logits that are calibrated under PRIOR at sharpness 1, and labels with the frequencies of ``prior``."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(PRIOR.size, num_images, p=np.asarray(prior) / np.sum(prior))
    # Unit Gaussians at 1.5 e_c: log p(x|c) is 1.5 x_c up to a constant that all classes share.
    features = rng.normal(size=(num_images, PRIOR.size)) + 1.5 * np.eye(PRIOR.size)[labels]
    return sharpness * (1.5 * features + np.log(PRIOR)), labels


@st.composite
def problems(draw_from: Any) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """Logits, labels and a prior of up to 30 images and 5 classes."""
    num_images, num_classes = draw_from(st.integers(1, 30)), draw_from(st.integers(2, 5))
    rng = np.random.default_rng(draw_from(st.integers(0, 2**32 - 1)))
    logits = rng.normal(scale=draw_from(st.sampled_from([0.1, 1.0, 20.0])), size=(num_images, num_classes))
    if draw_from(st.booleans()):
        logits = np.round(logits)  # ties
    return logits, rng.integers(0, num_classes, num_images), rng.dirichlet(np.ones(num_classes)) + 1e-3
