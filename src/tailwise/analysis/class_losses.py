"""Training loss of single classes against the epoch (zhang2019balance, Fig. 2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tailwise.analysis.figure import COLOURS, frequency_order, new_figure, short, style
from tailwise.core.errors import DataError


def class_loss_curves(
    histories: Mapping[str, Sequence[Sequence[Mapping[str, Any]]]],
    counts: Any,
    *,
    labels: Sequence[int] | None = None,
    class_names: Sequence[str] | None = None,
) -> Figure:
    """A panel a class and a line a run: mean cross-entropy of the class's training images in each epoch.

    An epoch in which a class was not shown leaves a gap. The images of an epoch are those that the recipe drew, and the
    loss is that of the network while it trained, augmentation and all.

    Args:
        histories: Recipe -> one list of log records per seed, of runs that logged their class losses.
        counts: Training images per class, ``[C]``.
        labels: The classes; None: the smallest and the largest, as in the paper.
        class_names: Names in label order.

    Raises:
        DataError: A run has not logged them.
    """
    order = frequency_order(counts)
    chosen = [int(order[-1]), int(order[0])] if labels is None else list(labels)
    with style():
        figure, axes = new_figure(2.9, 1, len(chosen))
        for number, (recipe, runs) in enumerate(histories.items()):
            for seed, records in enumerate(runs):
                found = [record for record in records if record.get("event") == "class losses"]
                if not found:
                    raise DataError(
                        f"{recipe} has no training losses by class in its log; train with --class-losses to keep them"
                    )
                epochs = [int(record["epoch"]) for record in found]
                for panel, label in zip(axes, chosen, strict=True):
                    values = [record["loss"][label] for record in found]
                    shown = [float("nan") if value is None else float(value) for value in values]
                    panel.plot(
                        epochs,
                        shown,
                        color=COLOURS[number % len(COLOURS)],
                        alpha=1.0 if len(runs) == 1 else 0.65,
                        label=short(recipe, 30) if seed == 0 and panel is axes[0] else None,
                    )
        for panel, label in zip(axes, chosen, strict=True):
            name = str(label) if class_names is None else short(class_names[label], 24)
            panel.set_title(f"class {name}: {int(counts[label]):,} training images")
            panel.set_xlabel("epoch")
            panel.xaxis.set_major_locator(MaxNLocator(7, integer=True))
            panel.set_ylim(bottom=0)
        axes[0].set_ylabel("training loss (nats)")
        figure.legend(loc="outside upper right", ncols=4, fontsize=8.5)
        return figure
