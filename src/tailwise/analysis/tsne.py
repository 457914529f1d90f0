"""Two-dimensional maps of the features of some classes by shot group (zhang2019balance, Fig. 4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.manifold import TSNE

from tailwise.analysis.figure import frequency_order, new_figure, short, style
from tailwise.core.errors import DataError
from tailwise.evaluation.shots import GROUPS, shot_groups

#: Classes from each group and images of each class in the paper.
PER_GROUP, PER_CLASS = 6, 50


def chosen_classes(counts: Any, shots: str, per_group: int = PER_GROUP) -> dict[str, list[int]]:
    """Labels from each shot group, evenly spread over its ranks; fewer where a group is smaller.

    Args:
        counts: Training images per class, ``[C]``.
        shots: The shot protocol.
        per_group: How many from each group, at least 1.
    """
    order, masks = frequency_order(counts), shot_groups(shots, counts)
    found: dict[str, list[int]] = {}
    for group in GROUPS:
        members = order[masks[group][order]]
        places = np.linspace(0, max(members.size - 1, 0), min(per_group, members.size)).round().astype(int)
        found[group] = members[places].tolist()
    return found


def chosen_images(labels: NDArray[np.int64], classes: Sequence[int], per_class: int = PER_CLASS) -> NDArray[np.int64]:
    """Positions of the first ``per_class`` images of every class; all of them where there are fewer."""
    return np.concatenate([np.empty(0, np.int64), *(np.flatnonzero(labels == label)[:per_class] for label in classes)])


def embedding(features: Any, *, seed: int = 0, perplexity: float = 30.0) -> NDArray[np.float64]:
    """t-SNE of features ``[N, D]`` in the plane, ``[N, 2]``; the same for the same seed on one machine.

    Args:
        features: At least three rows.
        seed: Of scikit-learn's generator.
        perplexity: Lowered to a third of the rows where there are few.

    Raises:
        DataError: Fewer than three images.
    """
    rows = np.asarray(features, dtype=np.float64)
    if len(rows) < 3:
        raise DataError(f"a map of features needs at least three images, got {len(rows)}")
    near = min(perplexity, (len(rows) - 1) / 3)
    return TSNE(perplexity=near, init="pca", learning_rate="auto", random_state=seed).fit_transform(rows)


def tsne(
    maps: Mapping[str, tuple[NDArray[np.float64], NDArray[np.int64]]],
    classes: Mapping[str, Sequence[int]],
    *,
    class_names: Sequence[str] | None = None,
) -> Figure:
    """A row of panels a recipe, a panel a shot group; the colours tell the classes of a group apart.

    The groups of a recipe are one map, of which a panel shows the images of its group in colour and the others in grey.

    Args:
        maps: Recipe -> points ``[N, 2]`` and their labels ``[N]``.
        classes: Shot group -> labels; see :func:`chosen_classes`.
        class_names: Names in label order.
    """
    groups = [group for group in GROUPS if classes.get(group)]
    with style():
        figure, axes = new_figure(0.6 + 2.9 * len(maps), len(maps), len(groups))

        colours: Any = matplotlib.colormaps["tab10"]
        for row, (recipe, (points, labels)) in enumerate(maps.items()):
            for column, group in enumerate(groups):
                panel = axes[row * len(groups) + column]
                others = ~np.isin(labels, classes[group])
                panel.scatter(*points[others].T, s=4, color="#c9ced6", linewidths=0)
                for number, label in enumerate(classes[group]):
                    name = str(label) if class_names is None else short(class_names[label], 14)
                    own = points[labels == label]
                    panel.scatter(*own.T, s=7, color=colours(number % 10), linewidths=0, label=name)
                panel.set_title(f"{short(recipe, 24)}, {group}")
                panel.grid(visible=False)
                panel.tick_params(labelbottom=False, labelleft=False, length=0)
                panel.legend(fontsize=7, loc="best", handletextpad=0.1, borderpad=0.2)
        return figure
