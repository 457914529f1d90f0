"""Class-specific and class-generic parts of features as points in the plane (chu2020feature, Fig. 4 and 11)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from tailwise.analysis.figure import COLOURS, new_figure, short, style


def feature_scatter(
    parts: Mapping[str, NDArray[Any]], labels: NDArray[np.int64], class_names: Sequence[str], *, seed: int = 0
) -> Figure:
    """A panel for each part, each embedded for itself by t-SNE after a principal component analysis.

    In the title stands the silhouette of the classes in the original space, from -1 to 1: larger when they are better
    separated. It does not depend on the embedding.

    Args:
        parts: Title -> features ``[M,D]`` of the same images.
        labels: Their classes, ``[M]``.
        class_names: Names in label order; the classes that occur are named in the legend.
        seed: Of the embedding.
    """
    shown = np.unique(labels)
    with style():
        figure, panels = new_figure(4.2, 1, len(parts))
        for axes, (title, values) in zip(panels, parts.items(), strict=True):
            points = embed(values, seed=seed)
            for number, label in enumerate(shown):
                own = points[labels == label]
                marker = "os^Dv<>"[number // len(COLOURS) % 7]
                axes.scatter(
                    own[:, 0], own[:, 1], s=9, color=COLOURS[number % len(COLOURS)], marker=marker, linewidths=0,
                    label=short(class_names[int(label)], 16),
                )  # fmt: skip
            axes.set_title(f"{title} (silhouette {silhouette(values, labels):.2f})")
            axes.grid(visible=False)
            axes.set_xticks([])
            axes.set_yticks([])
        handles, names = panels[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=min(10, len(shown)), fontsize=8)
        return figure


def embed(values: NDArray[Any], *, seed: int = 0) -> NDArray[np.float64]:
    """Points ``[M,2]`` of features ``[M,D]``; neighbours in the plane are neighbours among the features."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    plain = np.asarray(values, dtype=np.float64)
    size, width = plain.shape
    reduced = PCA(min(50, width, size), random_state=seed).fit_transform(plain)
    perplexity = max(1.0, min(30.0, (size - 1) / 3))
    return np.asarray(TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(reduced))


def silhouette(values: NDArray[Any], labels: NDArray[np.int64]) -> float:
    """Mean silhouette of the classes; NaN where there are fewer than two classes, or no two images of any."""
    from sklearn.metrics import silhouette_score

    if not 2 <= np.unique(labels).size < len(labels):
        return float("nan")
    return float(silhouette_score(np.asarray(values, dtype=np.float64), labels))
