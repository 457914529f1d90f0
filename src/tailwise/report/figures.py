"""The figures of a page: each is one line in :data:`FIGURES` and a function from the results to what is drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure

from tailwise.analysis.branches import branches
from tailwise.analysis.class_counts import class_counts
from tailwise.analysis.confusion_change import confusion_change
from tailwise.analysis.confusion_plot import confusion_plot
from tailwise.analysis.curves import curves
from tailwise.analysis.figure import NAMED_CLASSES, figure_to_svg
from tailwise.analysis.flow_plot import flow_plot
from tailwise.analysis.gain_bars import gain_bars
from tailwise.analysis.groups import groups
from tailwise.analysis.reliability import reliability
from tailwise.report.compared import Compared

#: Places of the page; ``more`` is for whatever only some runs store.
SECTIONS = ("accuracy", "gains", "confusion", "matrices", "reliability", "training", "more")


@dataclass(frozen=True, eq=False)
class Drawn:
    """A figure and its words.

    Attributes:
        figure: The figure.
        alt: What it shows, for those who do not see it: the numbers themselves where they are few.
        caption: How to read it.
        title: Above it, where one of several figures needs a name.
    """

    figure: Figure
    alt: str
    caption: str = ""
    title: str = ""


@dataclass(frozen=True)
class PageFigure:
    """A kind of figure.

    Attributes:
        key: Prefix of its ids in the page.
        section: Where it stands, one of :data:`SECTIONS`.
        draw: Gives nothing for results that do not hold what it needs.
    """

    key: str
    section: str
    draw: Callable[[Compared], Sequence[Drawn]]


@dataclass(frozen=True)
class Shown:
    """A figure in the page: its SVG and its words."""

    svg: Markup
    alt: str
    caption: str
    title: str


def draw_figures(compared: Compared) -> dict[str, list[Shown]]:
    """Every figure that the results support, by section.

    Args:
        compared: The results.

    Returns:
        Every section, empty where nothing supports a figure of it.
    """
    found: dict[str, list[Shown]] = {section: [] for section in SECTIONS}
    for figure in FIGURES:
        for number, drawn in enumerate(figure.draw(compared)):
            # matplotlib escapes every text of a figure; the rest of the element is its own.
            svg = Markup(figure_to_svg(drawn.figure, f"{figure.key}{number}"))
            found[figure.section].append(Shown(svg, drawn.alt, drawn.caption, drawn.title))
    return found


def _labels(compared: Compared) -> dict[str, str]:
    """All images, and each shot group with its number of classes."""
    return {"top1": "all images (top-1)"} | {
        group: f"{group} ({record['classes']} {'class' if record['classes'] == 1 else 'classes'})"
        for group, record in compared.first.groups(compared.shots).items()
    }


def _groups(compared: Compared) -> list[Drawn]:
    statistics = compared.group_statistics
    bars = {
        name: {key: None if cell is None else (cell.mean, cell.std) for key, cell in row.items()}
        for name, row in statistics.items()
    }
    labels = _labels(compared)
    spread = "; whiskers are one standard deviation" if any(len(row) > 1 for row in compared.chosen.values()) else ""
    told = "; ".join(
        f"{name}: " + ", ".join(f"{key.replace('top1', 'all')} {cell.show() if cell else 'none'}" for key, cell in row)
        for name, row in ((name, list(row.items())) for name, row in statistics.items())
    )
    return [
        Drawn(
            groups(bars, labels),
            f"Accuracy by shot group in percent. {told}.",
            f"Mean over seeds{spread}. A group's value is the mean of its class accuracies. A dash marks a group "
            "without classes.",
        )
    ]


def _classes(compared: Compared) -> list[Drawn]:
    counts, order = compared.counts, compared.order
    figure = class_counts(counts, per_class=compared.accuracies, class_names=compared.names, shots=compared.shots)
    many = " (dots), and its mean over runs of neighbouring classes (lines)" if len(order) > NAMED_CLASSES else ""
    return [
        Drawn(
            figure,
            f"Training images per class, from {counts[order[0]]:,} down to {counts[order[-1]]:,}, and below the "
            "accuracy of each class. The table of all classes holds the numbers.",
            f"Above: training images per class, logarithmic. Below: accuracy of the same class on the test set{many}.",
        )
    ]


def _gains(compared: Compared) -> list[Drawn]:
    if not compared.gains:
        return []
    figure = gain_bars(
        compared.gains,
        compared.counts,
        baseline=compared.reference,
        class_names=compared.names,
        shots=compared.shots,
    )
    told = "; ".join(
        f"{name}: {sum(v > 0 for v in known)} classes gain, {sum(v < 0 for v in known)} lose, most "
        f"{max(known, default=0.0):+.1f} and {min(known, default=0.0):+.1f} points"
        for name, values in compared.gains.items()
        for known in [[value for value in values if value is not None]]
    )
    runs = "; a bar is the mean over a run of neighbouring classes" if len(compared.order) > 100 else ""
    return [
        Drawn(
            figure,
            f"Gain of each class over {compared.reference}. {told}. The table of all classes holds the numbers.",
            f"Change of each class's accuracy in points, over the seeds both recipes have{runs}. Green bars above the "
            "line gain, red ones below it lose.",
        )
    ]


def _flow(compared: Compared) -> list[Drawn]:
    return [
        Drawn(
            flow_plot(compared.flows),
            "What the test images of each shot group are taken for, a bar for each recipe. The table below holds the "
            "numbers.",
            "Every class counts alike, so the share that goes to the own class is the accuracy of the group. Mean over "
            "seeds.",
        )
    ]


def _confusion(compared: Compared) -> list[Drawn]:
    return [
        Drawn(
            confusion_plot(results[0].confusion, compared.counts, class_names=compared.names, shots=compared.shots),
            f"Confusion matrix of {name}: rows are true classes, columns predictions, both from the largest class to "
            "the smallest. The tables of the weakest classes name the most frequent confusions.",
            title=name,
        )
        for name, results in compared.chosen.items()
    ]


def _confusion_change(compared: Compared) -> list[Drawn]:
    found: list[Drawn] = []
    for name, results in compared.chosen.items():
        first = results[0]
        stages: Mapping[str, Any] = first.record.get("stages") or {}
        before = first.confusion_after(max(map(int, stages))) if stages else None
        if before is not None and first.changed is None:
            found.append(
                Drawn(
                    confusion_change(before, first.confusion, compared.counts, class_names=compared.names),
                    f"Confusion matrix of {name} before its last stage, and how many points of each row the stage "
                    "moved from one class to another.",
                    "Left: before the last stage. Right: what that stage changed, in points of each row.",
                    f"{name}: the last stage",
                )
            )
    return found


def _branches(compared: Compared) -> list[Drawn]:
    labels = _labels(compared)
    return [
        Drawn(
            branches([result.selected for result in results], labels),
            f"Accuracy by shot group of the fused prediction of {name}, and of each branch of its head alone.",
            "Accuracy of the fused prediction and of each branch alone. Which classes a branch was trained for is in "
            "the recipe.",
            f"{name}: what each branch knows",
        )
        for name, results in compared.chosen.items()
        if all(result.selected.get("branches") for result in results)
    ]


def _reliability(compared: Compared) -> list[Drawn]:
    bins = {name: results[0].reliability for name, results in compared.chosen.items() if results[0].reliability}
    if not bins:
        return []
    errors = {name: results[0].last.get("ece") for name, results in compared.chosen.items()}
    told = "; ".join(f"{name} {errors[name]:.1f} %" for name in bins if errors[name] is not None)
    return [
        Drawn(
            reliability({name: row for name, row in bins.items() if row}, errors),
            f"Reliability diagram: accuracy of the predictions at each confidence. Expected calibration error: {told}.",
            "Left: accuracy of the predictions made with each confidence; on the dashed line a probability means what "
            "it says. The size of a dot is the number of images. Right: how often each confidence occurs. Last epoch, "
            "first seed, 15 bins.",
        )
    ]


def _curves(compared: Compared) -> list[Drawn]:
    histories = {name: [result.metrics() for result in results] for name, results in compared.chosen.items()}
    if not any(record for runs in histories.values() for records in runs for record in records):
        return []
    return [
        Drawn(
            curves(histories),
            "Learning curves: test accuracy and training loss against the epoch, a line for each seed.",
            "One line per seed. Dotted lines mark where the first recipe's next stage begins. Losses of different "
            "kinds are not comparable with one another.",
        )
    ]


#: In the order in which they stand in their sections. A figure that only some runs support is one more line here.
FIGURES = (
    PageFigure("groups", "accuracy", _groups),
    PageFigure("classes", "accuracy", _classes),
    PageFigure("gains", "gains", _gains),
    PageFigure("flow", "confusion", _flow),
    PageFigure("confusion", "matrices", _confusion),
    PageFigure("change", "matrices", _confusion_change),
    PageFigure("reliability", "reliability", _reliability),
    PageFigure("curves", "training", _curves),
    PageFigure("branches", "more", _branches),
)
